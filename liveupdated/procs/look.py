# SPDX-License-Identifier: LGPL-2.1-or-later
"""The processes of the host, as the kernel shows them.  Standard library only."""

import os
import pwd
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
KERNEL_THREAD = 0x00200000
"""PF_KTHREAD of the kernel's include/linux/sched.h, in field 9 of proc_pid_stat(5)."""
DELETED = " (deleted)"


@dataclass(frozen=True)
class Process:
    """One that is not a kernel thread and not a zombie."""

    pid: int
    parent: int
    group: int
    """Its process group: a job of the shell."""
    session: int
    tty: int
    """Device number of its controlling terminal; 0 for none."""
    start: int
    """When it was started, in clock ticks since boot: with the pid, who it is."""
    uid: int
    comm: str
    """Its short name: the kernel's, from the file that was executed, until it sets one itself."""
    exe: str
    argv: tuple[str, ...]
    """What it says its arguments are (prctl(2), PR_SET_MM): never more than a claim."""
    cgroup: str

    @property
    def user(self) -> str:
        """The name of its user; the number where that has no name."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)

    @property
    def program(self) -> str:
        """The file name of its program."""
        return os.path.basename(self.exe.removesuffix(DELETED))

    @property
    def label(self) -> str:
        """What people call it: the script's name where the program is an interpreter that the
        kernel was told by the script (execve(2)), else the program's."""
        scripts = (os.path.basename(word) for word in self.argv[1:3])
        return next((name for name in scripts if name[:15] == self.comm), self.program)

    @property
    def command(self) -> str:
        """Its arguments in one line, shortened."""
        text = " ".join(self.argv) or self.program
        return text if len(text) <= 60 else f"{text[:57]}..."


def processes(proc: Path = PROC) -> dict[int, Process]:
    """All of them, by pid."""
    found = (one(int(name), proc) for name in os.listdir(proc) if name.isdigit())
    return {process.pid: process for process in found if process}


def one(pid: int, proc: Path = PROC) -> Process | None:
    """The process of that number; None when there is none that counts."""
    folder = proc / str(pid)
    try:
        head, _, text = (folder / "stat").read_text(errors="replace").rpartition(")")
        stat = text.split()
        if stat[0] in "ZX" or int(stat[6]) & KERNEL_THREAD:
            return None
        return Process(
            pid=pid,
            parent=int(stat[1]),
            group=int(stat[2]),
            session=int(stat[3]),
            tty=int(stat[4]),
            start=int(stat[19]),
            uid=int(status(pid, proc)["Uid"].split()[0]),
            comm=head.partition("(")[2],
            exe=os.readlink(folder / "exe"),
            argv=words((folder / "cmdline").read_bytes()),
            cgroup=_cgroup(folder),
        )
    except (OSError, KeyError, IndexError):  # gone meanwhile
        return None


def words(data: bytes) -> tuple[str, ...]:
    """What the kernel gives as strings that end with NUL."""
    return tuple(map(os.fsdecode, data.removesuffix(b"\0").split(b"\0"))) if data else ()


def _cgroup(folder: Path) -> str:
    lines = (folder / "cgroup").read_text().splitlines()
    return next(line[3:] for line in lines if line.startswith("0::"))


def status(pid: int, proc: Path = PROC) -> dict[str, str]:
    """proc_pid_status(5)."""
    lines = (proc / str(pid) / "status").read_text(errors="replace").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def children(processes: Iterable[Process]) -> dict[int, list[int]]:
    """The pids of the children, by the parent's."""
    found: dict[int, list[int]] = {}
    for process in processes:
        found.setdefault(process.parent, []).append(process.pid)
    return found


def tree(root: int, below: Mapping[int, list[int]]) -> list[int]:
    """The root, and all that descend from it."""
    found = [root]
    for pid in found:
        found += below.get(pid, [])
    return found


def living_tree(root: int) -> list[int]:
    """The same, asked of the kernel from the root down (proc_tid_children(5))."""
    found = [root]
    for pid in found:
        for thread in _threads(pid):
            try:
                text = (PROC / f"{pid}/task/{thread}/children").read_text()
            except OSError:  # gone meanwhile
                continue
            found += [int(child) for child in text.split() if one(int(child))]
    return found


def _threads(pid: int) -> list[str]:
    try:
        return os.listdir(PROC / f"{pid}/task")
    except OSError:
        return []


def ancestors(pid: int, processes: Mapping[int, Process]) -> Iterator[int]:
    """Its parent and so on, but not PID 1."""
    seen = {pid}
    while (process := processes.get(pid)) and process.parent > 1 and process.parent not in seen:
        pid = process.parent
        seen.add(pid)
        yield pid
