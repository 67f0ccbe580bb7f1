# SPDX-License-Identifier: LGPL-2.1-or-later
"""A container with a real systemd, for what needs no kernel of its own.

It boots in about a second from the image's folder; see systemd-nspawn(1).
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from . import cache
from .command import EVIDENCE, Command, Completed, arguments, completed
from .errors import LabError
from .image import Image

HERE = Path(__file__).parent
BOOT_TIMEOUT = 120.0
"""Seconds; 2 on an idle machine."""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Container:
    """A booted container; what it writes is thrown away, or kept in the folder `upper`.

    `layers` are folders that earlier containers kept, the topmost first.  Use it from the thread
    that made it: the container dies with that thread.
    """

    def __init__(
        self, image: Image, *, layers: Sequence[Path] = (), upper: Path | None = None
    ) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="lab-"))
        self._lower = ":".join(map(str, [*layers, image.root]))
        self._upper = upper
        self._leader = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._boot()
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._clean_up()

    def _boot(self) -> None:
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount"]
        command += [str(HERE / "nspawn"), f"lab{secrets.token_hex(6)}", str(self._folder / "root")]
        command += [self._lower, str(self._upper or "")]
        (self._folder / "root").mkdir()
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify,
            (self._folder / "console").open("wb") as console,
        ):
            notify.bind(str(self._folder / "notify"))
            notify.settimeout(0.2)
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=os.environ | {"NOTIFY_SOCKET": str(self._folder / "notify")},
                start_new_session=True,  # Ctrl-C is for the tests
            )
            self._wait_ready(notify)

    def _wait_ready(self, notify: socket.socket) -> None:
        assert self._process
        limit = time.monotonic() + BOOT_TIMEOUT
        while time.monotonic() < limit:
            if self._process.poll() is not None:
                raise LabError(f"systemd-nspawn ended\n{self.console()}")
            with suppress(TimeoutError):
                for line in notify.recv(4096).decode().splitlines():
                    if line.startswith("X_NSPAWN_LEADER_PID="):
                        self._leader = int(line.partition("=")[2])
                    elif line == "READY=1":
                        return
        raise LabError(f"the container is not up after {BOOT_TIMEOUT:.0f} s\n{self.console()}")

    def power_off(self, timeout: float = 60) -> None:
        """Shut down in order, see systemd(1) for the signal."""
        assert self._process
        os.kill(self._leader, signal.SIGRTMIN + 4)
        self._process.wait(timeout)

    def wait_end(self, timeout: float) -> None:
        """Wait until it has shut down by itself."""
        assert self._process
        self._process.wait(timeout)

    def _clean_up(self) -> None:
        if self._process and self._process.poll() is None:
            if self._leader:
                os.kill(self._leader, signal.SIGKILL)
            else:
                self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(
        self,
        command: Command,
        *,
        timeout: float = 60,
        check: bool = True,
        stdin: bytes | None = None,
    ) -> Completed:
        """Run a command in the container as root and wait for its end; a string is for bash.

        Raises CommandFailed for another code than 0 unless `check` is off, and LabError after
        `timeout` seconds.  A soft-reboot stops the command for ever: ask for one with
        ``systemctl --no-block`` and nothing after it.
        """
        enter = ["nsenter", "--target", str(self._leader), "--mount", "--uts", "--ipc", "--net"]
        enter += ["--pid", "--cgroup", "--", "env", "-i", "-C", "/", f"PATH={_PATH}", "HOME=/root"]
        try:
            done = subprocess.run(
                [*enter, "LANG=C.UTF-8", *arguments(command)],
                input=stdin or b"",
                capture_output=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{command!r} takes longer than {timeout:.0f} s") from error
        return completed(command, done.returncode, done.stdout, done.stderr, check)

    def put(self, source: bytes | Path, path: str, mode: int = 0o644) -> None:
        """Write a file in the container; folders on the way are made."""
        data = source.read_bytes() if isinstance(source, Path) else source
        self.run(["install", "-D", "-m", f"{mode:o}", "/dev/stdin", path], stdin=data)

    def get(self, path: str) -> bytes:
        """What is in a file of the container."""
        return Path(f"/proc/{self._leader}/root{path}").read_bytes()

    def console(self) -> str:
        """What systemd and nspawn printed."""
        return (self._folder / "console").read_text(errors="replace")

    def evidence(self) -> str:
        """Console, failed units, state files and journals, as far as they can be had."""
        parts = ["== console", self.console()]
        try:
            parts.append(self.run(EVIDENCE, check=False).stdout)
        except LabError as error:
            parts.append(f"== the container does not answer: {error}")
        return "\n".join(parts)


def layer(image: Image, *debs: Path) -> Path:
    """A folder to lay over the image's, in which `debs` were installed the way a user does it."""
    name = f"{image.name}-{cache.digest(*debs)}"
    path = cache.made(
        cache.folder() / "container-layers" / name, lambda path: _install(path, image, debs)
    )
    cache.prune("container-layers/*", 2 * cache.DAY)
    return path


def _install(path: Path, image: Image, debs: Sequence[Path]) -> None:
    with Container(image, upper=path) as container:
        for deb in debs:
            container.put(deb, f"/root/{deb.name}")
        container.run(
            ["apt-get", "install", "-y", *(f"/root/{deb.name}" for deb in debs)], timeout=300
        )
        container.power_off()
    cache.remove(path.with_name(path.name + ".work"))
