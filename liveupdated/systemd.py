# SPDX-License-Identifier: LGPL-2.1-or-later
"""systemd as the workers see it: plain calls of systemctl(1), which also works before D-Bus is up.

The daemon, which must not block, talks D-Bus instead (`liveupdated.bus`).
"""

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from liveupdated.errors import ServiceError

TIMEOUT_S = 120.0
MANAGER: tuple[str, ...] = ("--system",)
"""Which manager is talked to: the system's, but in a process that works for a user's
(`liveupdated.users.agent`)."""
RUN = Path("/run")
RUNTIME_UNITS = "systemd/system"
"""Below RUN: unit files of this boot (systemd.unit(5))."""
BUS_SOCKET = "dbus/system_bus_socket"
"""Below RUN, too."""

Properties = dict[str, str]
"""What `systemctl show` prints of one unit."""


def systemctl(*words: str, timeout_s: float = TIMEOUT_S) -> str:
    """Run systemctl and return what it printed.  Raises ServiceError with its own words."""
    command = ["systemctl", *MANAGER, "--no-pager", "--no-ask-password", *words]
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=timeout_s
        )
    except subprocess.TimeoutExpired as error:
        raise ServiceError(
            f"systemctl {' '.join(words)} did not finish", f"no answer in {timeout_s:.0f} s"
        ) from error
    if done.returncode != 0:
        raise ServiceError(
            f"systemctl {' '.join(words)} failed", done.stderr.strip() or done.stdout.strip()
        )
    return done.stdout


def show(units: Sequence[str], properties: Iterable[str]) -> dict[str, Properties]:
    """The named properties of the units (or patterns), by unit name.  `*` is every loaded unit."""
    wanted = ",".join(["Id", *properties])
    shown = systemctl("show", "--all", f"--property={wanted}", "--", *units)
    return {unit["Id"]: unit for unit in blocks(shown) if unit.get("Id")}


def blocks(shown: str) -> Iterator[Properties]:
    for block in shown.split("\n\n"):
        unit: Properties = {}
        for line in block.splitlines():
            key, separator, value = line.partition("=")
            if not separator:
                continue
            # A property that holds several values (ExecStart=) comes as several lines.
            unit[key] = f"{unit[key]}\n{value}" if key in unit else value
        if unit:
            yield unit


def show_one(unit: str, *properties: str) -> Properties:
    return show([unit], properties).get(unit) or next(iter(show([unit], properties).values()), {})


def manager(*properties: str) -> Properties:
    """Properties of the manager itself (org.freedesktop.systemd1(5), Manager Object)."""
    return next(blocks(systemctl("show", f"--property={','.join(properties)}")), {})


def reload() -> None:
    """Have systemd read its units again, as they are now.  Threads that wait share the next one:
    on a host with many units it takes seconds.  Raises ServiceError."""
    mine = _reloads.begun + 1
    with _reloads.lock:
        if _reloads.done >= mine:
            return
        _reloads.begun += 1
        number = _reloads.begun
        systemctl("daemon-reload")
        _reloads.done = number


class _Reloads:
    """Numbered from 1 on; one that fails is nobody else's."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.begun = self.done = 0


_reloads = _Reloads()


def start(*units: str, wait: bool = True) -> None:
    systemctl("start", *([] if wait else ["--no-block"]), "--", *units)


def stop(*units: str) -> None:
    systemctl("stop", "--", *units)


def forget_failure(unit: str) -> None:
    """Of a unit that was for once, and whose failure is told elsewhere."""
    with contextlib.suppress(ServiceError):
        systemctl("reset-failed", "--", unit)


def write_files(files: Mapping[str, str]) -> None:
    """Write unit files and drop-ins: path below RUN to text."""
    for path, text in files.items():
        file = RUN / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o644)  # the workers' umask is stricter than systemd likes for units


def remove_files(files: Iterable[str]) -> None:
    """Take away what `write_files` wrote, and the drop-in folders that are empty then."""
    for path in files:
        file = RUN / path
        file.unlink(missing_ok=True)
        if file.parent.name.endswith(".d"):
            with contextlib.suppress(OSError):
                file.parent.rmdir()


def notify(message: str) -> None:
    """sd_notify(3) without the library, for workers that may only use the standard one.

    In a quick stop systemd-shutdown(8) has taken over by the time everybody is told to end: then
    there is nobody to notify.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
        contextlib.suppress(ConnectionRefusedError),
    ):
        sock.sendto(message.encode(), address)
