# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether a file is really somebody's own: nobody else could have put it there, or changed it.

Looked at through descriptors, one name of the path after the other, links followed by hand: what
was looked at is what is named.  Standard library only: used on the restore path.
"""

import os
import stat
from collections.abc import Collection
from contextlib import ExitStack

LINKS = 40
"""How many links a path may lead through, as for the kernel (path_resolution(7))."""
_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def writable_by_others(path: str, owners: Collection[int]) -> str:
    """What on the way to `path`, itself included, somebody else than `owners` (uids) may change;
    empty when nothing is.  Raises OSError when there is no such file."""
    todo = [name for name in path.split("/") if name]
    links = 0
    with ExitStack() as stack:
        at, seen = _open(stack, "/", None), "/"
        while True:
            status = os.fstat(at)
            if wrong := _wrong(status, owners):
                return f"{seen} {wrong}"
            if not todo:
                return ""
            name = todo.pop(0)
            below = _open(stack, name, at)
            if stat.S_ISLNK(os.fstat(below).st_mode):
                if wrong := _wrong(os.fstat(below), owners):
                    return f"{seen.rstrip('/')}/{name} {wrong}"
                links += 1
                if links > LINKS:
                    return f"{path} leads through too many links"
                target = os.readlink("", dir_fd=below)
                todo = [*(part for part in target.split("/") if part), *todo]
                if target.startswith("/"):
                    at, seen = _open(stack, "/", None), "/"
                continue
            at, seen = below, os.path.normpath(os.path.join(seen, name))


def _open(stack: ExitStack, name: str, folder: int | None) -> int:
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    stack.callback(os.close, fd)
    return fd


def _wrong(status: os.stat_result, owners: Collection[int]) -> str:
    if status.st_uid not in owners:
        return f"belongs to uid {status.st_uid}"
    if status.st_mode & _OTHERS and not stat.S_ISLNK(status.st_mode):
        return "can be written by others"
    return ""
