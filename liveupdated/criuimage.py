# SPDX-License-Identifier: LGPL-2.1-or-later
"""CRIU's images, as far as they are mended: entries of protobuf, walked field by field.

CRIU's own `crit` would need pycriu and protobuf, which criu only recommends.  Standard library
only.
"""

from collections.abc import Iterator
from dataclasses import dataclass

HEADER = 8
"""Bytes: two magic numbers (lib/pycriu/images/images.py of CRIU)."""
SIZE = 4
"""Bytes before each entry."""
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


def entry(data: bytes, at: int) -> tuple[int, int]:
    """Where the message of the entry that begins there begins and ends.  Raises ValueError."""
    start = at + SIZE
    end = start + int.from_bytes(data[at:start], "little")
    if end > len(data):
        raise ValueError("the image ends in the middle of an entry")
    return start, end


def fields(data: bytes, at: int, end: int) -> Iterator[Field]:
    """The fields of the message there (protobuf.dev, "Encoding").  Raises ValueError."""
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
