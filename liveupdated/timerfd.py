# SPDX-License-Identifier: LGPL-2.1-or-later
"""Periodic timerfds in CRIU's images: mended, so that they go on after the restore.

A periodic timerfd that has expired has no next expiry until it is read (timerfd_read() of the
kernel's fs/timerfd.c); CRIU 4.2.1 takes that for a timer that is disarmed, and restores it so (its
issue 3162, open in September 2026).  What is frozen reads nothing, so each whose period is shorter
than the dump is hit.  Here the next expiry is set to one nanosecond: it expires at once, as it had,
and the period goes on from there.

One byte of `files.img` is changed, found by walking the messages (images/fdinfo.proto and
images/timerfd.proto of CRIU).  Standard library only.
"""

from collections.abc import Iterator
from pathlib import Path

from liveupdated.criuimage import HEADER, entry, fields
from liveupdated.errors import SaveFailed

FILES = "files.img"
IN_FILE_ENTRY = 12
"""`tfd` of file_entry."""
VALUE_S, VALUE_NS, PERIOD_S, PERIOD_NS = 7, 8, 9, 10
"""Of timerfd_entry."""


def mend(image: Path, start: int = 0, size: int | None = None) -> int:
    """Set those timers going, in `files.img`, or in that part of an archive; how many there were.

    Raises SaveFailed for what is no such image.
    """
    with image.open("r+b") as file:
        file.seek(start)
        data = file.read(size)
        try:
            found = list(_stopped(data))
        except (ValueError, KeyError) as error:
            raise SaveFailed("the checkpoint's timers cannot be read", str(error)) from error
        for offset in found:
            file.seek(start + offset)
            file.write(b"\x01")
    return len(found)


def _stopped(data: bytes) -> Iterator[int]:
    """Where `vnsec` is, a zero, of each timer that has a period and no next expiry."""
    at = HEADER
    while at < len(data):
        start, at = entry(data, at)
        for each in fields(data, start, at):
            if each.number == IN_FILE_ENTRY:
                timer = {field.number: field for field in fields(data, each.start, each.end)}
                stands = not timer[VALUE_S].value and not timer[VALUE_NS].value
                if stands and (timer[PERIOD_S].value or timer[PERIOD_NS].value):
                    yield timer[VALUE_NS].start
