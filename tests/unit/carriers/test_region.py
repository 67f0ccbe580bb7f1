# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which memory is set aside."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveupdated.carriers import region
from liveupdated.errors import InvalidArgument, NoSpace

GIB = 1 << 30
LAB = """\
00000000-00000fff : Reserved
00001000-0009fbff : System RAM
  00000000-00000000 : PCI Bus 0000:00
00100000-7ffdafff : System RAM
  01000000-01ffffff : Kernel code
fec00000-fec003ff : IOAPIC 0
100000000-17fffffff : System RAM
"""
"""/proc/iomem of a q35 with 4 GiB, shortened."""


def test_it_is_the_lowest_place_above_4_gib() -> None:
    assert region.place(GIB, LAB) == 4 * GIB
    assert region.word(GIB, 4 * GIB) == "memmap=1G!4G"


def test_what_is_set_aside_already_is_no_ram() -> None:
    taken = LAB.replace(
        "100000000-17fffffff : System RAM",
        "100000000-11fffffff : Persistent Memory (legacy)\n"
        "  100000000-11fffffff : namespace0.0\n"
        "120000000-17fffffff : System RAM",
    )
    assert region.place(512 << 20, taken) == (4 << 30) + (512 << 20)


def test_a_kernel_that_is_loaded_at_the_top_has_room_there() -> None:
    assert region.place(1536 << 20, LAB) == 4 * GIB
    with pytest.raises(NoSpace, match="in one piece"):
        region.place(1664 << 20, LAB)


def test_more_than_half_is_too_much() -> None:
    with pytest.raises(InvalidArgument, match="too much"):
        region.place(3 * GIB, LAB)


@pytest.mark.parametrize("text", ["", "1", "1g", "0G", "64M", "1.5G", "-1G", "1G!4G", "200M"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(InvalidArgument, match="no size of a region"):
        region.size(text)


def test_sizes() -> None:
    assert (region.size("512M"), region.size("2G")) == (512 << 20, 2 * GIB)


def test_a_region_is_found_by_its_size() -> None:
    words = ("memmap=1G!4G", "memmap=512M!0x200", "memmap=2G!6G")
    assert region.of_size(words, 2 * GIB) == "memmap=2G!6G"
    assert region.of_size(words, 3 * GIB) == ""


@given(st.integers(1, 1 << 20), st.integers(32, 1 << 20))
def test_a_word_says_what_it_was_made_of(sections: int, start: int) -> None:
    count, at = sections * region.ALIGNMENT, start * region.ALIGNMENT
    assert region.spans(region.word(count, at)) == (at, count)
