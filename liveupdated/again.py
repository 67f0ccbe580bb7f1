# SPDX-License-Identifier: LGPL-2.1-or-later
"""A process that belongs to no service, started again as it was: in a transient unit of its own.

The same program (by its path), arguments, folder, environment, user, groups and limits; never more
than its own user may do.  Its output goes to the journal.  Standard library only: used on the
restore path.
"""

import os
import resource
from pathlib import Path

from liveupdated.errors import SaveFailed
from liveupdated.qemu.cmdline import exec_line
from liveupdated.session import Json
from liveupdated.unitfiles import TRANSIENT, TRANSIENT_DROPIN

# Of systemd.exec(5), by the name of the limit in setrlimit(2).
LIMITS = {
    f"Limit{name}": getattr(resource, f"RLIMIT_{name}")
    for name in (
        "CPU FSIZE DATA STACK CORE RSS NOFILE AS NPROC MEMLOCK "
        "SIGPENDING MSGQUEUE NICE RTPRIO RTTIME"
    ).split()
}
NAMESPACES = ("mnt", "net", "pid", "user", "ipc", "uts")


def obstacles(pid: int) -> list[str]:
    """Why it could not be started again as it was."""
    found = []
    if os.readlink(f"/proc/{pid}/exe").endswith(" (deleted)"):
        found.append("its program is not there any more")
    ids = _status(pid, "Uid")[:3], _status(pid, "Gid")[:3]
    if any(len(set(each)) > 1 for each in ids):
        found.append("it runs as more than one user or group")
    other = [name for name in NAMESPACES if _namespace(pid, name) != _namespace(1, name)]
    if other:
        found.append(f"it has namespaces of its own ({', '.join(other)})")
    if _reads_terminal(pid):
        found.append("it reads from a terminal")
    return found


def _status(pid: int, key: str) -> list[str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1:] for line in lines if line.startswith(f"{key}:"))


def _namespace(pid: int, name: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{name}")


def _reads_terminal(pid: int) -> bool:
    target = os.readlink(f"/proc/{pid}/fd/0") if os.path.lexists(f"/proc/{pid}/fd/0") else ""
    return target.startswith(("/dev/pts/", "/dev/tty"))


def unit(pid: int, description: str) -> str:
    """The text of a unit that starts it again.  Raises SaveFailed when it has just ended."""
    try:
        return _unit(pid, description)
    except (OSError, StopIteration) as error:
        raise SaveFailed(f"process {pid} cannot be looked at", str(error)) from error


def _unit(pid: int, description: str) -> str:
    argv = _words(Path(f"/proc/{pid}/cmdline"))
    program = os.readlink(f"/proc/{pid}/exe")
    directory = os.readlink(f"/proc/{pid}/cwd")
    lines = [
        "[Unit]",
        f"Description={description}",
        "[Service]",
        "Type=exec",
        f"ExecStart=@{exec_line([program, *argv])}",
        f"User={_status(pid, 'Uid')[0]}",
        f"Group={_status(pid, 'Gid')[0]}",
        f"SupplementaryGroups={' '.join(_status(pid, 'Groups'))}",
        f"UMask={_status(pid, 'Umask')[0]}",
        f"WorkingDirectory={directory.replace('%', '%%')}",
    ]
    for word in _words(Path(f"/proc/{pid}/environ")):
        lines.append(f"Environment={exec_line([word]).removeprefix(':')}")
    for name, limit in LIMITS.items():
        soft, hard = map(_limit, resource.prlimit(pid, limit))
        lines.append(f"{name}={soft}:{hard}")
    return "\n".join(lines) + "\n"


def _words(file: Path) -> list[str]:
    data = file.read_bytes().rstrip(b"\0")
    return [os.fsdecode(word) for word in data.split(b"\0")] if data else []


def _limit(value: int) -> str:
    return "infinity" if value == resource.RLIM_INFINITY else str(value)


def files(name: str, text: str) -> dict[str, Json]:
    """For `liveupdated.unitfiles.start`: a transient unit of that name."""
    return {f"{TRANSIENT}/{name}.d/{TRANSIENT_DROPIN}": text}
