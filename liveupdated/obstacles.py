# SPDX-License-Identifier: LGPL-2.1-or-later
"""What of a process tree CRIU cannot take along, beside what `liveupdated.criu` knows by name.

Each is a sentence, with the way out.  Found before anything is frozen, from proc(5) alone.
Standard library only.
"""

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path

Descriptors = Mapping[int, str]
"""A process's descriptors, and what each refers to."""

GPUS = ("/dev/dri/", "/dev/nvidia", "/dev/kfd")
DELETED = " (deleted)"
PTMX = "/dev/ptmx"
PTS = "/dev/pts/"
TTY = "/dev/tty"
PTS_MAJORS = range(136, 144)
"""Device numbers of pseudo-terminals (the kernel's Documentation/admin-guide/devices.txt)."""
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
"""Not `time`: CRIU makes one at each restore, and takes it along."""


def device(path: str) -> str:
    """The words for a device file that somebody has open."""
    if path.startswith(GPUS):
        return f"a GPU ({path}; way out: end what uses it)"
    if path.startswith(PTS) or path in (PTMX, TTY):
        return (
            f"the terminal {path}, whose other end is not carried "
            "(way out: nohup, setsid or tmux; a client of tmux or screen: detach it),"
        )
    return f"the device {path}"


# --- terminals ---


def own_terminals(open_files: Mapping[int, Descriptors]) -> set[str]:
    """The terminals that have both ends in the tree, as a descriptor refers to them."""
    masters = {
        index
        for pid, targets in open_files.items()
        for fd, target in targets.items()
        if target == PTMX and (index := _index(pid, fd)) is not None
    }
    found = {f"{PTS}{index}" for index in masters} | ({PTMX} if masters else set())
    if {_controlling(pid) for pid, targets in open_files.items() if TTY in targets.values()} <= {
        *masters
    }:
        found.add(TTY)
    return found


def _index(pid: int, fd: int) -> int | None:
    """Which slave belongs to this master (proc_pid_fdinfo(5))."""
    found = re.search(r"^tty-index:\s*(\d+)$", _text(pid, f"fdinfo/{fd}"), re.MULTILINE)
    return int(found[1]) if found else None


def _controlling(pid: int) -> int | None:
    """The number of its controlling pseudo-terminal (proc_pid_stat(5), field 7)."""
    number = int(_text(pid, "stat").rpartition(")")[2].split()[4])
    major, minor = os.major(number), os.minor(number)
    return minor + 256 * (major - PTS_MAJORS[0]) if major in PTS_MAJORS else None


# --- shared with somebody else ---


def elsewhere_too(open_files: Mapping[int, Descriptors], known: Collection[str]) -> list[str]:
    """Pipes and sockets that a process outside the tree has open too; not the `known` ones."""
    own = {
        target: pid
        for pid, targets in open_files.items()
        for target in targets.values()
        if target.startswith(("pipe:[", "socket:[")) and target not in known
    }
    if not own:
        return []
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in open_files:
            for target in _targets(name) & own.keys():
                kind = "pipe" if target.startswith("pipe:[") else "socket"
                found.append(
                    f"process {own[target]} has a {kind} open that process {name} "
                    f"({_text(int(name), 'comm').strip()}), which is not carried, has open too "
                    "(way out: redirect to files; a socket: let it be opened by one alone)"
                )
    return found


def _targets(pid: str) -> set[str]:
    folder = f"/proc/{pid}/fd"
    found = set()
    try:
        for name in os.listdir(folder):
            found.add(os.readlink(f"{folder}/{name}"))
    except OSError:  # gone meanwhile, or it closed one
        pass
    return found


# --- one process ---


def of_process(pid: int, main: int, targets: Descriptors) -> list[str]:
    """What in this process stands in the way, beside its open files."""
    found = []
    status = _text(pid, "status")
    tracer = re.search(r"^TracerPid:\s*([1-9]\d*)$", status, re.MULTILINE)
    if tracer:
        found.append(f"process {pid} is traced by process {tracer[1]} (way out: end the debugger)")
    if pid != main:
        found += [
            f"process {pid} runs in a {name} namespace of its own, below the others' "
            "(way out: start it without one)"
            for name in NAMESPACES
            if _namespace(pid, name) != _namespace(main, name)
        ]
    if _namespace(pid, "pid_for_children") != _namespace(pid, "pid"):
        found.append(f"the children of process {pid} get a pid namespace of their own")
    found += [
        f"process {pid} has a file open whose name was removed and that has another one "
        f"({target.removesuffix(DELETED)}; way out: redirect from elsewhere)"
        for fd, target in targets.items()
        if _removed(target) and _links(pid, fd)
    ]
    found += _mappings(pid)
    found += _watches(pid, targets)
    return found


def _namespace(pid: int, name: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/{name}")
    except OSError:
        return ""


def _mappings(pid: int) -> list[str]:
    paths = {
        words[5]
        for line in _text(pid, "maps").splitlines()
        if len(words := line.split(maxsplit=5)) == 6
    }
    return [
        f"process {pid} has {device(path)} mapped"
        for path in sorted(paths)
        if path.startswith("/dev/") and not path.startswith(("/dev/shm/", "/dev/zero"))  # noqa: S108
    ]


def _watches(pid: int, targets: Descriptors) -> list[str]:
    """CRIU asks for the path of what inotify watches; what was removed has none."""
    removed = set()
    for name in [*(f"fd/{fd}" for fd, target in targets.items() if _removed(target)), "cwd"]:
        try:
            if _removed(os.readlink(f"/proc/{pid}/{name}")):
                removed.add(os.stat(f"/proc/{pid}/{name}").st_ino)
        except OSError:
            continue
    if not removed:
        return []
    watched = {
        int(inode, 16)
        for fd, target in targets.items()
        if target == "anon_inode:inotify"
        for inode in re.findall(r"^inotify wd:\S+ ino:(\w+)", _text(pid, f"fdinfo/{fd}"), re.M)
    }
    if watched & removed:
        return [f"process {pid} watches a file that was removed (inotify)"]
    return []


def _removed(target: str) -> bool:
    return target.startswith("/") and target.endswith(DELETED) and "memfd:" not in target


def _links(pid: int, fd: int) -> int:
    """How many names the file has: CRIU takes along what has none, by its content, and would have
    to make a link for what has others (criu(8), --link-remap)."""
    try:
        return os.stat(f"/proc/{pid}/fd/{fd}").st_nlink
    except OSError:
        return 0


def _text(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""
