# SPDX-License-Identifier: LGPL-2.1-or-later
"""A connection whose peer scales no windows is restored as one that scales by nothing."""

from pathlib import Path

import pytest

from liveupdated import tcpstream
from liveupdated.criuimage import HEADER, SIZE, entry, fields
from liveupdated.errors import SaveFailed

MAGIC = bytes.fromhex("45 07 51 54 16 37 53 66")
"""IMG_COMMON_MAGIC and TCP_STREAM_MAGIC of CRIU's magic.h: nothing here depends on them."""
QUEUES = b"what was received, and not read\x00and what was sent"


def image(opt_mask: int, more: bytes = b"") -> bytes:
    """As tcp-stream.proto of CRIU lays it down, all required fields and a timestamp."""
    mask = bytes([0x28, *([opt_mask] if opt_mask < 128 else [opt_mask & 127 | 128, 1])])
    message = bytes.fromhex("08 20 10 80 81 02 18 11 20 90 4e") + mask
    message += bytes.fromhex("30 00 38 b4 0b") + more + bytes.fromhex("48 85 f0 01")
    return MAGIC + len(message).to_bytes(SIZE, "little") + message + QUEUES


def told(data: bytes) -> dict[int, int]:
    start, end = entry(data, HEADER)
    assert data[end:] == QUEUES
    return {field.number: field.value for field in fields(data, start, end)}


@pytest.mark.parametrize("options", [0, 2, 128])
def test_no_scaling_becomes_scaling_by_nothing(options: int, tmp_path: Path) -> None:
    before = image(options)
    (tmp_path / "tcp-stream-2a.img").write_bytes(before)
    (tmp_path / "pages-1.img").write_bytes(before)
    tcpstream.mend(tmp_path)
    after = (tmp_path / "tcp-stream-2a.img").read_bytes()
    assert told(after) == {**told(before), 5: options | 4, 8: 0}
    assert tcpstream.mended(after) == after
    assert (tmp_path / "pages-1.img").read_bytes() == before


def test_what_scales_stays_as_it_is() -> None:
    scaled = image(7, bytes.fromhex("40 07"))
    assert tcpstream.mended(scaled) == scaled


@pytest.mark.parametrize("size", [10, 20, 12 + 13])
def test_a_torn_image_is_refused(size: int) -> None:
    with pytest.raises(SaveFailed, match="connections cannot be read"):
        tcpstream.mended(image(0)[:size])
