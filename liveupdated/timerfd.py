# SPDX-License-Identifier: LGPL-2.1-or-later
"""Periodic timerfds in CRIU's images: mended, so that they go on after the restore.

A periodic timerfd that has expired has no next expiry until it is read (timerfd_read() of the
kernel's fs/timerfd.c); CRIU 4.2.1 takes that for a timer that is disarmed, and restores it so (its
issue 3162, open in September 2026).  What is frozen reads nothing, so each whose period is shorter
than the dump is hit.  Here the next expiry is set to one nanosecond: it expires at once, as it had,
and the period goes on from there.

One byte of `files.img` is changed, found by walking the messages (images/fdinfo.proto and
images/timerfd.proto of CRIU).  CRIU's own `crit` would need pycriu and protobuf for that, which
criu only recommends.  Standard library only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from liveupdated.errors import SaveFailed

FILES = "files.img"
HEADER = 8
"""Bytes: two magic numbers (lib/pycriu/images/images.py of CRIU)."""
SIZE = 4
"""Bytes before each entry."""
IN_FILE_ENTRY = 12
"""`tfd` of file_entry."""
VALUE_S, VALUE_NS, PERIOD_S, PERIOD_NS = 7, 8, 9, 10
"""Of timerfd_entry."""
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types of protobuf."""


@dataclass(frozen=True)
class Field:
    """One field of a message."""

    number: int
    value: int
    """Of a varint; else where the content begins."""
    start: int
    end: int


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
        size = int.from_bytes(data[at : at + SIZE], "little")
        start, at = at + SIZE, at + SIZE + size
        if at > len(data):
            raise ValueError("the image ends in the middle of an entry")
        for each in _fields(data, start, at):
            if each.number == IN_FILE_ENTRY:
                timer = {field.number: field for field in _fields(data, each.start, each.end)}
                stands = not timer[VALUE_S].value and not timer[VALUE_NS].value
                if stands and (timer[PERIOD_S].value or timer[PERIOD_NS].value):
                    yield timer[VALUE_NS].start


def _fields(data: bytes, at: int, end: int) -> Iterator[Field]:
    """The fields of the message there (protobuf.dev, "Encoding")."""
    while at < end:
        key, start = _varint(data, at)
        number, wire = key >> 3, key & 7
        value = start
        if wire == VARINT:
            value, at = _varint(data, start)
        elif wire == BYTES:
            size, start = _varint(data, start)
            at = start + size
        elif wire in (FIXED32, FIXED64):
            at = start + (4 if wire == FIXED32 else 8)
        else:
            raise ValueError(f"no wire type of protobuf: {wire}")
        if at > end:
            raise ValueError("a field ends beyond its message")
        yield Field(number, value, start, at)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Its value, and where it ends."""
    value = shift = 0
    while True:
        if at >= len(data):
            raise ValueError("the image ends in the middle of a number")
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if not data[at - 1] & 0x80:
            return value, at
