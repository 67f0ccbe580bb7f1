# SPDX-License-Identifier: LGPL-2.1-or-later
"""Files that are in memory only, taken along in an archive."""

import hashlib
import os
from pathlib import Path

from liveupdated.errors import RestoreFailed
from liveupdated.hoststate.category import run


def size(folder: str) -> int:
    """Bytes in use on the file system that is mounted there."""
    room = os.statvfs(folder)
    return (room.f_blocks - room.f_bfree) * room.f_frsize


def pack(folder: str, archive: Path) -> str:
    """Write all below `folder`, of that file system alone, into the archive; its digest."""
    command = ["tar", "--create", f"--file={archive}", "--xattrs", "--acls", "--one-file-system"]
    run([*command, "--warning=no-file-ignored", f"--directory={folder}", "."])
    return digest(archive)


def unpack(archive: Path, sha256: str, folder: str) -> None:
    """Fill the folder again, if it is empty.  Raises RestoreFailed when the archive was altered."""
    if digest(archive) != sha256:
        raise RestoreFailed(f"the saved content of {folder} was altered", "its digest does not fit")
    if os.listdir(folder):
        return
    command = ["tar", "--extract", f"--file={archive}", "--xattrs", "--xattrs-include=*", "--acls"]
    run([*command, "--same-owner", "--preserve-permissions", f"--directory={folder}"])


def digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
