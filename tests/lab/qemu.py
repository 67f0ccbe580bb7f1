# SPDX-License-Identifier: LGPL-2.1-or-later
"""A virtual machine whose kernel may be changed under it."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from base64 import b64decode
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from .accel import TCG, accelerator
from .agent import Agent, AgentAway, AgentError, AgentLost
from .command import EVIDENCE, Command, Completed, arguments, completed
from .errors import CommandFailed, EmulatorFault, GuestGone, GuestPanic, LabError
from .image import Image

CMDLINE = (
    "root=/dev/nvme0n1 rw console=ttyS0 panic=-1 quiet mitigations=off "
    "tsc=reliable no_timer_check cryptomgr.notests rcupdate.rcu_expedited=1 audit=0 net.ifnames=0"
)
"""Everything after ``quiet`` only saves boot time under emulation."""

BOOT_TIMEOUT = 300.0
"""Seconds; 11 on an idle machine with two cores."""
POLL = 0.2
_PANIC = re.compile(rb"Kernel panic - not syncing|Oops: |BUG: unable to handle|Internal error: ")


class Machine:
    """A machine on a throw-away overlay of `disk`, switched on by `with`.

    `disk` is a raw file or, when its name says so, a qcow2 one; the image's own by default.
    `kernel` is the version prefix of the kernel that firmware boots, `append` are further words
    for its command line, `memory` is in MiB, `ports` are TCP ports of the guest that outside
    clients reach at `port()` of 127.0.0.1, `qemu_args` go to QEMU as they are.  With `firmware`,
    arguments of QEMU as well, the machine finds its kernel by itself and is handed none.

    Use it from the thread that made it: QEMU dies with that thread.
    """

    def __init__(
        self,
        image: Image,
        *,
        disk: Path | None = None,
        kernel: str = "6.12",
        initrd: bool = False,
        append: str = "",
        memory: int = 1536,
        cpus: int = 2,
        ports: Sequence[int] = (),
        firmware: Sequence[str] = (),
        qemu_args: Sequence[str] = (),
    ) -> None:
        self.image = image
        self.kernel = image.kernel(kernel)
        self.initrd = initrd
        self.append = append
        self.memory = memory
        self.cpus = cpus
        self.panics_expected = False
        """Set by a test that wants the guest to panic."""
        self._backing = disk or image.disk
        self._firmware = list(firmware)
        self._qemu_args = list(qemu_args)
        self._ports = dict(zip(ports, _free_ports(len(ports)), strict=True))
        self._folder = Path(tempfile.mkdtemp(prefix="lab-"))
        self._agent = Agent(self._folder / "agent")
        self._process: subprocess.Popen[bytes] | None = None
        self._console_seen = 0

    # --- power ---

    def __enter__(self) -> Self:
        try:
            self._first_boot()
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

    def reset(self, kernel: str | None = None) -> str:
        """Cut the power, switch on again with the same disk; the new boot id.

        What the guest had not written is lost.  `kernel` changes what firmware boots from now on.
        """
        assert self._process
        if kernel is not None:
            self.kernel = self.image.kernel(kernel)
        # SIGTERM stops the guest at once and closes the disk in order.  SIGKILL would also lose
        # what the guest wrote with FUA, as ext4 does at fsync: QEMU's NVMe does not honour it.
        self._process.terminate()
        self._process.wait(60)
        self._power_on()
        return self.wait_boot("")

    def power_off(self, timeout: float = 120) -> None:
        """Shut the guest down and wait until QEMU has ended."""
        assert self._process
        self.start(["systemctl", "poweroff"])
        self._process.wait(timeout)

    def save_disk(self, path: Path) -> None:
        """Keep the machine's disk, after `power_off`, as an overlay that names its backing file."""
        shutil.move(self._folder / "disk.qcow2", path)

    def _first_boot(self) -> None:
        overlay = self._folder / "disk.qcow2"
        overlay.unlink(missing_ok=True)
        base_format = "qcow2" if self._backing.suffix == ".qcow2" else "raw"
        command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", base_format]
        command += ["-b", str(self._backing), str(overlay)]
        subprocess.run(command, check=True)
        self._power_on()
        self.wait_boot("")

    def _power_on(self) -> None:
        forwards = "".join(
            f",hostfwd=tcp:127.0.0.1:{outside}-:{inside}" for inside, outside in self._ports.items()
        )
        here = self._folder
        command = ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"]
        # fewer devices, fewer modules to load at each boot
        command += ["-machine", "q35,sata=off,smbus=off", *accelerator(self.kernel.image)]
        command += ["-smp", str(self.cpus), "-m", str(self.memory), "-nodefaults"]
        command += ["-display", "none", "-chardev", f"file,id=c0,path={here}/console,append=on"]
        # unsafe: the host's page cache is the disk's platter
        command += ["-drive", f"if=none,id=d0,file={here}/disk.qcow2,format=qcow2,cache=unsafe"]
        command += ["-device", "nvme,serial=1,drive=d0", "-serial", "chardev:c0"]
        command += ["-chardev", f"socket,id=q0,path={here}/agent,server=on,wait=off"]
        command += ["-device", "virtio-serial", "-device"]
        command += ["virtserialport,chardev=q0,name=org.qemu.guest_agent.0"]
        command += ["-netdev", f"user,id=n0,restrict=on{forwards}"]
        command += ["-device", "virtio-net-pci,netdev=n0,romfile=", "-device", "virtio-rng-pci"]
        command += self._firmware or self._handed_in()
        with (here / "qemu.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *self._qemu_args],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests
            )

    def _handed_in(self) -> list[str]:
        command = ["-kernel", str(self.kernel.image)]
        command += ["-append", f"{CMDLINE} {self.append}".strip()]
        if self.initrd:
            command += ["-initrd", str(self.kernel.initrd)]
        return command

    def _kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _clean_up(self) -> None:
        self._kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    # --- commands ---

    def run(
        self,
        command: Command,
        *,
        timeout: float = 120,
        check: bool = True,
        stdin: bytes | None = None,
    ) -> Completed:
        """Run a command in the guest as root and wait for its end; a string is for bash.

        Raises CommandFailed for another code than 0 unless `check` is off, GuestGone when the
        guest rebooted meanwhile, GuestPanic, and LabError after `timeout` seconds.
        """
        limit = time.monotonic() + timeout
        pid = self._start(command, stdin, limit)
        pause = 0.02
        while True:
            self._watch()
            try:
                ended = self._agent.status(pid)
            except AgentAway:
                ended = None
            except AgentError as error:
                raise GuestGone(f"the guest rebooted during {command!r}") from error
            if ended:
                break
            if time.monotonic() > limit:
                raise LabError(f"{command!r} takes longer than {timeout:.0f} s")
            time.sleep(pause)
            pause = min(2 * pause, 1)
        return completed(command, *ended, check)

    def start(self, command: Command) -> None:
        """Start a command in the guest and do not wait for it: what ends the boot, say."""
        self._start(command, None, time.monotonic() + 60)

    def _start(self, command: Command, stdin: bytes | None, limit: float) -> int:
        while True:
            self._watch()
            try:
                return self._agent.execute(arguments(command), stdin)
            except AgentLost as error:
                raise GuestGone(f"the guest went away at the start of {command!r}") from error
            except AgentError as error:
                raise CommandFailed(f"{command!r} cannot be started: {error}") from error
            except AgentAway as error:
                if time.monotonic() > limit:
                    raise LabError(f"no agent to run {command!r}: {error}") from error

    def put(self, source: bytes | Path, path: str, mode: int = 0o644) -> None:
        """Write a file in the guest; folders on the way are made."""
        data = source.read_bytes() if isinstance(source, Path) else source
        self.run(["mkdir", "-p", os.path.dirname(path)])
        self._agent.write(path, data)
        self.run(["chmod", f"{mode:o}", path])

    def get(self, path: str) -> bytes:
        """What is in a file of the guest."""
        return self._agent.read(path)

    def port(self, inside: int) -> int:
        """The port of 127.0.0.1 that leads to the guest's port `inside`."""
        return self._ports[inside]

    # --- boots ---

    def boot_id(self) -> str:
        """The kernel's id of this boot.  Raises AgentAway between boots."""
        with self._agent.conversation(timeout=2) as call:
            handle = call("guest-file-open", path="/proc/sys/kernel/random/boot_id")
            data = call("guest-file-read", handle=handle, count=64)["buf-b64"]
            call("guest-file-close", handle=handle)
        return b64decode(data).decode().strip()

    def wait_boot(self, not_boot_id: str, timeout: float = BOOT_TIMEOUT) -> str:
        """Wait for a boot with another id than `not_boot_id`; the new id.

        The agent answers early: what was to be started may not run yet, see `wait_running`.
        """
        limit = time.monotonic() + timeout
        while time.monotonic() < limit:
            self._watch()
            with suppress(AgentAway, AgentError):
                found = self.boot_id()
                if found != not_boot_id:
                    return found
            time.sleep(POLL)
        raise LabError(f"no new boot within {timeout:.0f} s\n{self.console_tail()}")

    def wait_running(self, timeout: float = BOOT_TIMEOUT) -> None:
        """Wait until systemd has started everything.  Raises LabError when a unit failed."""
        limit = time.monotonic() + timeout
        state = ""
        while state not in {"running", "degraded", "maintenance"}:
            left = limit - time.monotonic()
            if left < 0:
                raise LabError(f"the guest is {state or 'away'} after {timeout:.0f} s")
            with suppress(GuestGone):
                # --wait ends early when the bus is not there yet
                command = ["systemctl", "is-system-running", "--wait"]
                state = self.run(command, timeout=left, check=False).stdout.strip()
            time.sleep(POLL)
        if state != "running":
            failed = self.run(["systemctl", "--failed", "--no-legend", "--plain"]).stdout
            raise LabError(f"the guest is {state}: {failed}")

    # --- what happened ---

    def console(self) -> str:
        """All that came over the serial line, of every boot."""
        return (self._folder / "console").read_text(errors="replace")

    def console_tail(self, lines: int = 60) -> str:
        """The serial line's last lines, and QEMU's own words."""
        text = self.console() if (self._folder / "console").exists() else ""
        said = (self._folder / "qemu.log").read_text(errors="replace")
        return "\n".join([*text.splitlines()[-lines:], said])

    def evidence(self) -> str:
        """Console, failed units, state files and journals, as far as they can be had."""
        parts = ["== console", self.console_tail()]
        was, self.panics_expected = self.panics_expected, True
        try:
            parts.append(self.run(EVIDENCE, timeout=60, check=False).stdout)
        except (LabError, AgentAway, AgentError) as error:
            parts.append(f"== the guest does not answer: {error}")
        finally:
            self.panics_expected = was
        return "\n".join(parts)

    def _watch(self) -> None:
        """Raise when QEMU ended, or the console shows a panic that was not seen before."""
        if self._process is None or self._process.poll() is not None:
            raise LabError(f"the machine is off\n{self.console_tail()}")
        path = self._folder / "console"
        if not path.exists() or path.stat().st_size == self._console_seen:
            return
        with path.open("rb") as file:
            file.seek(max(0, self._console_seen - 64))
            text = file.read()
            self._console_seen = file.tell()
        if _PANIC.search(text) and not self.panics_expected:
            emulated = accelerator(self.kernel.image) == TCG
            fault = EmulatorFault if emulated and b"Oops: int3" in text else GuestPanic
            raise fault(self.console_tail())


def _free_ports(count: int) -> list[int]:
    # All are held until the last is found: a port that is given back may be found again.
    with ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in held:
            sock.bind(("127.0.0.1", 0))
        return [int(sock.getsockname()[1]) for sock in held]
