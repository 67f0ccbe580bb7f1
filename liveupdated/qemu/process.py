# SPDX-License-Identifier: LGPL-2.1-or-later
"""The processes of QEMU on this host, as the kernel shows them."""

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from liveupdated.errors import ServiceError

PROGRAMS = ("qemu-system-", "qemu-kvm")
"""How the file names of QEMU's system emulators begin; the second is Red Hat's."""


def emulators() -> Iterator[int]:
    """Processes of QEMU in the host's own pid namespace."""
    own = os.readlink("/proc/self/ns/pid")
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            program = os.path.basename(os.readlink(f"/proc/{entry}/exe"))
            if program.startswith(PROGRAMS) and os.readlink(f"/proc/{entry}/ns/pid") == own:
                yield int(entry)
        except OSError:  # a kernel thread, or gone
            continue


def program(pid: int) -> str:
    """The path of its program; where an upgrade has replaced that, of the new one."""
    return os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")


def uid(pid: int) -> int:
    """The real user id (proc_pid_status(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Uid:"))


def uid_of(user: str) -> int:
    """Of a name or a number.  Raises ServiceError."""
    try:
        return int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid
    except KeyError as error:
        raise ServiceError(f"there is no user {user}") from error


def name(pid: int) -> str:
    """The short name of the process (proc_pid_comm(5))."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "gone"
