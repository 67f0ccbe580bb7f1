# SPDX-License-Identifier: LGPL-2.1-or-later
"""Control groups (the kernel's Documentation/admin-guide/cgroup-v2.rst): frozen, thawed, ended.

Standard library only: used on the restore path.
"""

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

from liveupdated.errors import SaveFailed, ServiceError

ROOT = Path("/sys/fs/cgroup")
FREEZE_LIMIT_S = 10.0
KILL_LIMIT_S = 30.0


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
    """Raises SaveFailed when it does not get there in time."""
    (cgroup / "cgroup.freeze").write_text("1")
    _wait_for(cgroup, "frozen 1", FREEZE_LIMIT_S)


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
