# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where a picture or report goes: into a file, which is whole or as it was, or to stdout."""

import os
import stat
from pathlib import Path

import click

from liveupdated.errors import LiveUpdateError

STDOUT = "-"


class OutputFile(click.Path):
    """The name of a file that can be written, with one of these endings; or ``-``.

    A regular file that is there is replaced.  Anything else is not: root would write through
    another user's symbolic link, or into a device.
    """

    name = "file"

    def __init__(self, *endings: str) -> None:
        super().__init__(dir_okay=False, allow_dash=True)
        self.endings = endings

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str:
        name = os.fspath(value)
        if name == STDOUT:
            return name
        path = Path(name)
        if path.suffix.lower() not in self.endings:
            self.fail(f"{name!r} does not end in {' or '.join(self.endings)}", param, ctx)
        if not path.parent.is_dir():
            self.fail(f"{str(path.parent)!r} is no folder", param, ctx)
        if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
            self.fail(f"{name!r} is there and no regular file; - is standard output", param, ctx)
        return name


def write(name: str, text: str) -> None:
    """`text` as UTF-8 into the file, or to standard output."""
    data = text.encode()
    if name == STDOUT:
        click.echo(data, nl=False)  # as bytes: the encoding is the document's, not the locale's
        return
    path = Path(name)
    try:
        _replace(path, data)
    except OSError as error:
        raise LiveUpdateError(f"{name} cannot be written", error.strerror or str(error)) from error


def _replace(path: Path, data: bytes) -> None:
    """A new file under the old name: who reads meanwhile gets one or the other, whole."""
    temporary = path.with_name(f".liveupdatectl.{os.urandom(8).hex()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise
