# SPDX-License-Identifier: LGPL-2.1-or-later
"""Things that take long to make are made once and kept below `~/.cache/liveupdated`.

A thing is made under a temporary name while a lock is held and renamed when it is complete: two
runs do not make it twice, and what has its final name is whole.
"""

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

DAY = 24 * 3600


def folder() -> Path:
    """The cache's root, made when missing."""
    top = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "liveupdated"
    top.mkdir(parents=True, exist_ok=True)
    return top


def digest(*parts: bytes | str | Path) -> str:
    """A short hash over strings, and over files and folders with names, modes and content."""
    sha = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            for path in sorted([part, *part.rglob("*")]) if part.is_dir() else [part]:
                if "__pycache__" in path.parts:
                    continue
                sha.update(f"{path.relative_to(part.parent)}\0{path.lstat().st_mode:o}\0".encode())
                if path.is_symlink():
                    sha.update(os.readlink(path).encode())
                elif path.is_file():
                    sha.update(hashlib.sha256(path.read_bytes()).digest())
        else:
            data = part.encode() if isinstance(part, str) else part
            sha.update(hashlib.sha256(data).digest())
    return sha.hexdigest()[:16]


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Held by one process at a time; the kernel frees it when the holder dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def made(path: Path, make: Callable[[Path], None]) -> Path:
    """`path`, made by `make(temporary_path)` when it is not there yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with lock(path.with_name(path.name + ".lock")):
            if not path.exists():
                partial = path.with_name(path.name + ".partial")
                remove(partial)
                make(partial)
                partial.rename(path)
    os.utime(path)
    return path


def prune(pattern: str, unused_for: float) -> None:
    """Remove what matches `pattern` below the cache and was not used for so many seconds."""
    for path in folder().glob(pattern):
        if path.suffix != ".lock" and path.lstat().st_mtime < time.time() - unused_for:
            remove(path)


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it; nothing there is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
