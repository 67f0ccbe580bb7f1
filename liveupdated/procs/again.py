# SPDX-License-Identifier: LGPL-2.1-or-later
"""Starting a process again as what it was: what is noted of it, and what forbids that.

A process can lie about its arguments and its environment, and a user about everything of theirs.
So what is noted is run as the very user that the kernel says, with no privilege more than the
process had, by the path of the program that the kernel says is running.
"""

import os
import resource
import stat
from pathlib import Path

from liveupdated import instructions
from liveupdated.errors import SaveFailed
from liveupdated.procs import look
from liveupdated.session import Json

FOLDER = "again"
"""Below the artifacts: what is noted for starting it again."""
CAPABILITY = "security.capability"
"""The attribute that holds a file's capabilities (capabilities(7))."""
WAKE_ALARM = 1 << 35
"""pam_systemd(8) gives it to every login; nobody misses it."""
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
LIMITS = {
    name: getattr(resource, name) for name in sorted(dir(resource)) if name.startswith("RLIMIT_")
}
ALIASES = ("RLIMIT_OFILE",)
PRIORITY_FIELD = 16
"""`nice` of proc_pid_stat(5), counted from the state."""
OUTPUTS = (1, 2)


def obstacles(pid: int, init: int = 1) -> list[str]:
    """Why it cannot be started again as what it is: sentences, none if it can."""
    found = []
    status, host = look.status(pid), look.status(init)
    exe = os.readlink(f"/proc/{pid}/exe")
    if exe.endswith(look.DELETED) or not _is_file_of(pid, exe):
        found.append(f"its program {exe} was replaced or removed (way out: start it anew once)")
    elif _gives_privileges(exe):
        found.append(f"its program {exe} gives privileges (setuid, setgid or capabilities)")
    for kind in ("Uid", "Gid"):
        if len(set(status[kind].split())) != 1:
            found.append(f"it runs with several ids at a time ({kind}: {status[kind]})")
    found += _privileges(status, host)
    found += [
        f"it runs in a {name} namespace of its own"
        for name in NAMESPACES
        if os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/{init}/ns/{name}")
    ]
    if not os.path.samefile(f"/proc/{pid}/root", "/"):
        found.append("it has a root folder of its own (chroot)")
    if os.readlink(f"/proc/{pid}/cwd").endswith(look.DELETED):
        found.append("the folder that it works in was removed")
    return found


def _is_file_of(pid: int, exe: str) -> bool:
    try:
        return os.path.samefile(f"/proc/{pid}/exe", exe)
    except OSError:
        return False


def _gives_privileges(exe: str) -> bool:
    if os.stat(exe).st_mode & (stat.S_ISUID | stat.S_ISGID):
        return True
    return CAPABILITY in os.listxattr(exe)


def _privileges(status: dict[str, str], host: dict[str, str]) -> list[str]:
    """What it may do must be what its user may do: no more is given, and no less is enough."""
    found = []
    own = int(status["CapPrm"], 16)
    usual = int(host["CapBnd"], 16) if status["Uid"].split()[0] == "0" else 0
    if own & ~WAKE_ALARM != usual & ~WAKE_ALARM:
        found.append("its capabilities are not those of its user")
    if status["CapBnd"] != host["CapBnd"]:
        found.append("its capabilities are bounded")
    if status.get("Seccomp", "0") != "0":
        found.append("it has a seccomp filter")
    return found


def save(pid: int, artifacts: Path) -> dict[str, Json]:
    """Write down what it is; what `liveupdated.procs.unit.start_again` needs.

    Raises SaveFailed, and OSError when it has just ended.
    """
    if found := obstacles(pid):
        raise SaveFailed(f"process {pid} cannot be started again", "; ".join(found))
    folder = artifacts / FOLDER
    folder.mkdir(mode=0o700)
    return {"digest": instructions.write(folder, note(pid)), "folder": str(folder)}


def note(pid: int) -> dict[str, Json]:
    """All that `liveupdated.procs.launch` needs to start it again."""
    folder, status = Path(f"/proc/{pid}"), look.status(pid)
    _, _, text = (folder / "stat").read_text(errors="replace").rpartition(")")
    return {
        "exe": os.readlink(folder / "exe"),
        "argv": _texts(folder / "cmdline"),
        "environ": _texts(folder / "environ"),
        "cwd": os.readlink(folder / "cwd"),
        "uid": int(status["Uid"].split()[0]),
        "gid": int(status["Gid"].split()[0]),
        "groups": [int(group) for group in status["Groups"].split()],
        "umask": int(status["Umask"], 8),
        "ignored": int(status["SigIgn"], 16),
        "no_new_privileges": status.get("NoNewPrivs", "0") == "1",
        "nice": int(text.split()[PRIORITY_FIELD]),
        "oom_score_adj": int((folder / "oom_score_adj").read_text()),
        "limits": {
            name: list(resource.prlimit(pid, number))
            for name, number in LIMITS.items()
            if name not in ALIASES
        },
        "outputs": {str(fd): _output(pid, fd) for fd in OUTPUTS},
    }


def _texts(file: Path) -> list[str]:
    """Bytes that need not be text go through JSON as Python's surrogates."""
    return list(look.words(file.read_bytes()))


def _output(pid: int, fd: int) -> str:
    """The file that it writes there; empty for anything else, which becomes the journal."""
    path = f"/proc/{pid}/fd/{fd}"
    try:
        target = os.readlink(path)
        regular = stat.S_ISREG(os.stat(path).st_mode) and os.path.samefile(path, target)
    except OSError:
        return ""
    return target if regular or target == os.devnull else ""


def runs(pid: int, digest: str) -> bool:
    """Whether the process is the launcher no more, which has the digest among its arguments.

    Not by /proc/PID/exe: whoever restores may not look into other users' processes.
    """
    try:
        arguments = look.words(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False
    return bool(arguments) and digest not in arguments
