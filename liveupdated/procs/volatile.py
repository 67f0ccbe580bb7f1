# SPDX-License-Identifier: LGPL-2.1-or-later
"""Files of a process tree that do not outlive the boot: they are taken along, one by one.

CRIU opens files by their paths and maps them from there; what lies in a tmpfs (/tmp, /dev/shm,
/run) would be gone.  Standard library only.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from liveupdated import criu

SHARED = "/dev/shm/"  # noqa: S108 - POSIX shared memory (shm_overview(7))
IN_MEMORY = ("tmpfs", "ramfs")
RUNTIME = re.compile(r"/run/user/(\d+)(/|$)")


def files(pids: Sequence[int]) -> list[str]:
    """What they have open, mapped or bound there, and the folders on the way; relative to /."""
    mounts = _mounts(pids[0])
    found: set[str] = set()
    for path in _paths(pids):
        mount = max((point for point in mounts if _below(path, point)), key=len, default="")
        if mount and mounts[mount] in IN_MEMORY:
            found.update(_way(path, mount))
    return sorted(name.removeprefix("/") for name in found if _is_kept(name))


def runtime_folders(pids: Sequence[int]) -> set[str]:
    """The uids in whose /run/user folder they have something: logind makes those."""
    return {found[1] for path in _paths(pids) if (found := RUNTIME.match(path))}


def size(names: Iterable[str]) -> int:
    """Bytes of those files."""
    return sum(os.stat(f"/{name}").st_size for name in names if os.path.isfile(f"/{name}"))


def _mounts(pid: int) -> dict[str, str]:
    """Mount points and their file systems, the topmost of each (proc_pid_mountinfo(5))."""
    found = {}
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        found[left.split()[4].encode().decode("unicode_escape")] = right.split()[0]
    return found


def _below(path: str, point: str) -> bool:
    return point == "/" or f"{path}/".startswith(f"{point}/")


def _way(path: str, mount: str) -> Iterator[str]:
    """The path and the folders above it, but not the mount point."""
    while len(path) > len(mount) and path != "/":
        yield path
        path = os.path.dirname(path)


def _is_kept(path: str) -> bool:
    """Sockets are made by CRIU, and what was removed it takes along itself."""
    return os.path.isfile(path) or (os.path.isdir(path) and not os.path.islink(path))


def _paths(pids: Sequence[int]) -> set[str]:
    found = set(_bound(pids))
    for pid in pids:
        found.update(criu.descriptors(pid).values())
        found.add(os.readlink(f"/proc/{pid}/cwd"))
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            found.update(line.split(maxsplit=5)[5:])
    return {path for path in found if path.startswith("/")}


def _bound(pids: Sequence[int]) -> Iterator[str]:
    """Where their unix sockets are (proc_net_unix(5))."""
    own = {inode for pid in pids for inode in criu.sockets(pid).values()}
    for line in Path(f"/proc/{pids[0]}/net/unix").read_text().splitlines()[1:]:
        words = line.split(maxsplit=7)
        if len(words) == 8 and int(words[6]) in own:
            yield words[7]
