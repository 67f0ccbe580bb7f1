# SPDX-License-Identifier: LGPL-2.1-or-later
"""The files that a guest stands on: which outlive the boot, and whether they are as they were."""

import hashlib
import os
import stat
from pathlib import Path

from liveupdated.errors import RestoreFailed
from liveupdated.session import Json

IN_MEMORY = ("tmpfs", "ramfs", "hugetlbfs", "devtmpfs")
"""File systems whose files a boot loses."""
DIGESTED = 64 << 20
"""Bytes; of a longer file reading it all would cost blackout, so its size and time must do."""


def devices_in_memory() -> set[int]:
    """The device numbers of what is mounted and lost at a boot (proc_pid_mountinfo(5))."""
    found = set()
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split()
        if words[words.index("-") + 1] in IN_MEMORY:
            major, minor = words[2].split(":")
            found.add(os.makedev(int(major), int(minor)))
    return found


def as_seen_by(pid: int, path: str) -> str:
    """The path, from here, of what the process calls `path`."""
    if os.path.isabs(path):
        return f"/proc/{pid}/root{path}"
    return f"/proc/{pid}/cwd/{path}"


def obstacles(pid: int, what: str, path: str, in_memory: set[int]) -> list[str]:
    """Why the file would not be there, the same one, after the jump."""
    try:
        seen = os.stat(as_seen_by(pid, path))
    except FileNotFoundError:
        return [f"{what} {path} is gone (-snapshot and snapshot=on make one without a name)"]
    if not os.path.isabs(path):
        return [f"{what} {path} has no absolute path"]
    if not same_file(seen, path):
        return [f"{what} {path} is another file outside its mount namespace"]
    if stat.S_ISREG(seen.st_mode) and seen.st_dev in in_memory:
        return [f"{what} {path} is in memory and goes with the boot (way out: move it to a disk)"]
    return []


def same_file(seen: os.stat_result, path: str) -> bool:
    """Whether the host's `path` is that file or device."""
    try:
        here = os.stat(path)
    except OSError:
        return False
    if stat.S_ISBLK(seen.st_mode):
        return here.st_rdev == seen.st_rdev
    return (here.st_dev, here.st_ino) == (seen.st_dev, seen.st_ino)


def identity(path: str) -> dict[str, Json]:
    """What must be the same after the jump for the file to be as it was.

    Device numbers are dealt out anew by each boot, so the file system's own id stands for the
    device.  Of a block device, nothing tells whether its content was written.
    """
    found = os.stat(path)
    if stat.S_ISBLK(found.st_mode):
        return {"size": _device_size(path), "device": _device_name(found.st_rdev)}
    return {
        "file system": os.statvfs(path).f_fsid,
        "inode": found.st_ino,
        "size": found.st_size,
        "modification time": found.st_mtime_ns,
    }


def _device_size(path: str) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.lseek(fd, 0, os.SEEK_END)
    finally:
        os.close(fd)


def _device_name(number: int) -> str:
    """What the device says that it is (Documentation/ABI of the kernel: dm, block, partition)."""
    folder = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    for name in ("dm/uuid", "wwid", "device/wwid", "../wwid", "../device/wwid"):
        try:
            return f"{(folder / name).read_text().strip()} {_partition(folder)}".strip()
        except OSError:
            continue
    return folder.resolve().name


def _partition(folder: Path) -> str:
    try:
        return (folder / "partition").read_text().strip()
    except OSError:
        return ""


def fingerprint(path: Path) -> list[int | str]:
    """Size, and the digest of a file that is quickly read, or else its time."""
    found = path.stat()
    if found.st_size > DIGESTED:
        return [found.st_size, str(found.st_mtime_ns)]
    return [found.st_size, hashlib.sha256(path.read_bytes()).hexdigest()]


def refuse_changed(what: str, path: str, saved: dict[str, Json]) -> None:
    """Raises RestoreFailed naming what of the file is not as it was saved."""
    try:
        now = identity(path)
    except OSError as error:
        raise RestoreFailed(f"{what} {path} cannot be found", str(error)) from error
    changed = [key for key, value in saved.items() if now.get(key) != value]
    if changed:
        raise RestoreFailed(
            f"{what} {path} was changed since the guest was saved", f"another {', '.join(changed)}"
        )
