# SPDX-License-Identifier: LGPL-2.1-or-later
"""Control groups (the kernel's Documentation/admin-guide/cgroup-v2.rst): frozen, thawed, ended.

Standard library only: used on the restore path.
"""

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

from liveupdated.errors import SaveFailed, ServiceError

ROOT = Path("/sys/fs/cgroup")
FREEZE_LIMIT_S = 10.0
KILL_LIMIT_S = 30.0
VFORK_S = 0.02
"""For a child to begin its program."""


def folder(control_group: str) -> Path:
    """The folder of a unit's `ControlGroup` property.  Raises ServiceError when it has none."""
    if not control_group.startswith("/") or control_group == "/":
        raise ServiceError(f"no cgroup: {control_group!r}")
    return ROOT / control_group[1:]


def of_process(pid: int) -> str:
    """The cgroup of a process, as `ControlGroup` names it (cgroups(7), /proc/PID/cgroup)."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return next(line[3:] for line in lines if line.startswith("0::"))


def read(file: Path) -> str:
    """The text of a cgroup's interface file.  Raises FileNotFoundError when the cgroup is gone."""
    try:
        return file.read_text()
    except OSError as error:
        if error.errno == errno.ENODEV:  # kernfs: removed after we opened it
            raise FileNotFoundError(error.errno, "the cgroup is gone", str(file)) from error
        raise


def pids(cgroup: Path) -> list[int]:
    """All processes in the cgroup and below it."""
    return list(_pids(cgroup))


def _pids(cgroup: Path) -> Iterator[int]:
    for path, _, _ in os.walk(cgroup):
        try:
            yield from map(int, read(Path(path, "cgroup.procs")).split())
        except FileNotFoundError:
            continue
        except OSError as error:
            # Threads only (libvirt has them for virtual CPUs): their processes are listed in the
            # threaded domain above (cgroup-v2.rst, "Threads").
            if error.errno != errno.EOPNOTSUPP:
                raise


def freeze(cgroup: Path) -> None:
    """Freeze it so that a tracer can stop all that is in it.

    The kernel counts a thread as frozen that waits in vfork(2) until its child begins a program,
    and a tracer would wait for it as long (wait_for_vfork_done() of kernel/fork.c): for ever, when
    the child is frozen too.  Shells and posix_spawn(3) do that for a moment, which is let pass.

    Raises SaveFailed when it does not get there in time.
    """
    end = time.monotonic() + FREEZE_LIMIT_S
    while True:
        (cgroup / "cgroup.freeze").write_text("1")
        _wait_for(cgroup, "frozen 1", FREEZE_LIMIT_S)
        waiting = next(_in_vfork(cgroup), 0)
        if not waiting:
            return
        if time.monotonic() > end:
            raise SaveFailed(
                f"{cgroup.name} cannot be stopped",
                f"thread {waiting} waits in vfork(2), and its child does not go on",
            )
        thaw(cgroup)
        time.sleep(VFORK_S)


def _in_vfork(cgroup: Path) -> Iterator[int]:
    """Threads of the frozen cgroup: of these, only they are in state D."""
    for pid in _pids(cgroup):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # SIGKILL ends it still
            for thread in Path(f"/proc/{pid}/task").iterdir():
                # proc_pid_stat(5): the name, before the state, may have any character.
                stat = (thread / "stat").read_text(errors="replace")
                if stat.rpartition(") ")[2].startswith("D"):
                    yield int(thread.name)


def thaw(cgroup: Path) -> None:
    (cgroup / "cgroup.freeze").write_text("0")


def kill(cgroup: Path) -> None:
    """SIGKILL, which ends a frozen cgroup without a single instruction.  Raises SaveFailed."""
    try:
        (cgroup / "cgroup.kill").write_text("1")
        _wait_for(cgroup, "populated 0", KILL_LIMIT_S)
    except FileNotFoundError:
        return  # systemd removed the cgroup once it was empty


def _wait_for(cgroup: Path, event: str, limit_s: float) -> None:
    end = time.monotonic() + limit_s
    while event not in read(cgroup / "cgroup.events").splitlines():
        if time.monotonic() > end:
            raise SaveFailed(f"{cgroup.name} does not reach '{event}'", f"after {limit_s:.0f} s")
        time.sleep(0.01)
