# SPDX-License-Identifier: LGPL-2.1-or-later
"""A real systemd in a container that is booted again and again on the same disk.

What a boot drops (/run) is dropped, what it keeps stays: all of a jump but the kernel.
"""

import os
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab.errors import LabError

BOOT_LIMIT_S = 300.0
# systemd from version 258 on needs cgroup v2, which not every build machine has mounted there.
PREPARE = """
umount -R /sys/fs/cgroup 2>/dev/null
mount -t cgroup2 none /sys/fs/cgroup || exit 1
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root" || exit 1
shift 2
exec "$@"
"""


class Boots:
    """The machine in the folder `root`, which is only read; its disk's changes are in `scratch`."""

    def __init__(self, root: Path, scratch: Path, package: Path) -> None:
        self._root = root
        self._scratch = scratch
        self._package = package
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = ""
        for name in ("upper", "work", "root"):
            (scratch / name).mkdir()

    def __enter__(self) -> Self:
        self.boot()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.power_off()

    def boot(self) -> None:
        """Switch on and wait until the boot is complete."""
        address = self._scratch / "notify"
        address.unlink(missing_ok=True)
        nspawn = ["systemd-nspawn", "--quiet", "--boot", f"--directory={self._scratch}/root"]
        nspawn += ["--register=no", "--keep-unit", "--notify-ready=yes", "--private-network"]
        nspawn += [f"--machine=lu{os.getpid()}", "--console=read-only"]
        # What runc needs: a session keyring, and a filter for devices.
        nspawn += ["--system-call-filter=@keyring bpf", "--capability=CAP_BPF"]
        nspawn += [f"--bind-ro={self._package}:/usr/lib/python3/dist-packages/liveupdated"]
        command = ["unshare", "--mount", "--propagation=private", "sh", "-c", PREPARE, "sh"]
        command += [str(self._root), str(self._scratch), *nspawn]
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify,
            (self._scratch / "console").open("ab") as console,
        ):
            notify.bind(str(address))
            notify.settimeout(1.0)
            self._nspawn = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env={**os.environ, "NOTIFY_SOCKET": str(address)},
            )
            self._wait_ready(notify, self._nspawn)

    def _wait_ready(self, notify: socket.socket, nspawn: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + BOOT_LIMIT_S
        while time.monotonic() < end and nspawn.poll() is None:
            try:
                lines = notify.recv(4096).decode().splitlines()
            except TimeoutError:
                continue
            for line in lines:
                key, _, value = line.partition("=")
                if key == "X_NSPAWN_LEADER_PID":
                    self._leader = value
            if "READY=1" in lines:
                return
        raise LabError(f"the container did not come up:\n{self.console()[-4000:]}")

    def power_off(self) -> None:
        """Shut down in order."""
        if self._nspawn is None:
            return
        if self._nspawn.poll() is None and self._leader:
            # systemd(1), SIGRTMIN+4: poweroff.target.
            subprocess.run(["kill", "-s", "RTMIN+4", self._leader], check=False)
        try:
            self._nspawn.wait(120)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()
        self._nspawn = None

    def reboot(self) -> None:
        self.power_off()
        self.boot()

    def run(self, *command: str, text: str | None = None, check: bool = True) -> str:
        """What the command prints; `text` is its stdin."""
        done = subprocess.run(
            ["nsenter", "--target", self._leader, "--all", "--", *command],
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if check and done.returncode != 0:
            raise LabError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def console(self) -> str:
        return (self._scratch / "console").read_text(errors="replace")
