# SPDX-License-Identifier: LGPL-2.1-or-later
"""Opening a file that root is going to trust: once, without links, checked on the descriptor.

What is loaded for kexec is as powerful as the running kernel, and without lockdown the kernel loads
unsigned and tampered images, so whoever could have written to the file, or could have put another
in its place, must be root already.
"""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from liveupdated import paths
from liveupdated.errors import BadKernel

TRUSTED_UID = 0

_FOLDER_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Non-blocking: a FIFO in the place of the file must not make us wait for a writer.
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def open_trusted(path: Path, allowed_folders: Iterable[str]) -> int:
    """A read-only descriptor of the regular file at `path`; the caller closes it.

    The file lies below one of `allowed_folders` (absolute, taken below paths.ROOT), is reached
    without a symbolic link, and it and every folder on the way belong to root and cannot be
    written to by anybody else.  Raises BadKernel.

    Walking folder by folder with O_NOFOLLOW is what openat2(2) RESOLVE_NO_SYMLINKS does, and it
    gives a descriptor of each folder to look at, which openat2 does not.
    """
    below = [folder for folder in allowed_folders if _is_below(path, folder)]
    if not below or ".." in path.parts:
        raise BadKernel(
            f"{path} must not be loaded",
            "it is not in one of the folders where kernels may lie",
            "move it there, or name its folder in folders of the configuration",
        )
    *folders, name = path.relative_to(paths.ROOT).parts
    at = paths.ROOT
    try:
        folder_fd = os.open(at, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _check(folder_fd, at)
            for part in folders:
                at /= part
                next_fd = os.open(part, _FOLDER_FLAGS, dir_fd=folder_fd)
                os.close(folder_fd)
                folder_fd = next_fd
                _check(folder_fd, at)
            at = path
            fd = os.open(name, _FILE_FLAGS, dir_fd=folder_fd)
        finally:
            os.close(folder_fd)
    except OSError as error:
        raise _cannot_open(path, at, error) from error
    try:
        _check_regular(fd, path)
        _check(fd, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def read_trusted(path: Path, allowed_folders: Iterable[str]) -> str:
    """The text of a file that passes `open_trusted`.  Raises BadKernel."""
    with os.fdopen(open_trusted(path, allowed_folders), "rb") as file:
        return file.read().decode("utf-8", "replace")


def _is_below(path: Path, folder: str) -> bool:
    return path.is_relative_to(paths.ROOT / folder.lstrip("/"))


def _check_regular(fd: int, path: Path) -> None:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise BadKernel(f"{path} must not be loaded", "it is not a regular file")


def _check(fd: int, path: Path) -> None:
    status = os.fstat(fd)
    if status.st_uid != TRUSTED_UID:
        raise BadKernel(
            f"{path} must not be loaded",
            f"it belongs to user {status.st_uid}, not to root",
            f"if its content is what it should be: chown root: {path}",
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise BadKernel(
            f"{path} must not be loaded",
            f"others than root can write to it (mode {stat.S_IMODE(status.st_mode):04o})",
            f"if its content is what it should be: chmod go-w {path}",
        )


def _cannot_open(path: Path, at: Path, error: OSError) -> BadKernel:
    if at.is_symlink():
        return BadKernel(
            f"{path} must not be loaded",
            f"{at} is a symbolic link, which could lead elsewhere the next time",
            "name the file itself",
        )
    return BadKernel(f"{path} cannot be opened", f"{error.strerror} ({at})")
