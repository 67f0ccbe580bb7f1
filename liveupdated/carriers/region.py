# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which memory can be set aside, by the kernel's own map of it.

The place must be RAM for both kernels, and must not be where kexec puts a new kernel: the first
jump, from a kernel that knows nothing of the region, would have that kernel start inside it.  kexec
fills memory from the top (bzImage64_load() in the kernel's kexec-bzimage64.c), so the region is as
low as can be, and there is room above.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from liveupdated.errors import InvalidArgument, NoSpace

IOMEM = Path("/proc/iomem")
LOWEST = 4 << 30
"""Below are devices, firmware, and what only reaches 32 bits."""
ALIGNMENT = 128 << 20
"""A section of memory (SECTION_SIZE_BITS of x86-64): the kernel describes no less as a device."""
ABOVE = 512 << 20
"""Room for a kernel and its initrd."""
_UNITS = {"K": 10, "M": 20, "G": 30, "T": 40}
_SIZE = re.compile(r"(\d+)([KMGT])")
_WORD = re.compile(r"memmap=(\w+)!(\w+)")
_RAM = re.compile(r"([0-9a-f]+)-([0-9a-f]+) : System RAM")


def size(text: str) -> int:
    """Bytes of `1G`, `512M`.  Raises InvalidArgument, also for what cannot be a region's size."""
    found = _SIZE.fullmatch(text)
    count = int(found[1]) << _UNITS[found[2]] if found else 0
    if not count or count % ALIGNMENT:
        raise InvalidArgument(
            f"{text!r} is no size of a region", "", "a multiple of 128M, such as 512M or 4G"
        )
    return count


def place(count: int, iomem: str) -> int:
    """The start of a region of `count` bytes.  Raises NoSpace, InvalidArgument."""
    ram = list(_system_ram(iomem))
    total = sum(end - start for start, end in ram)
    if 2 * count > total:
        raise InvalidArgument(
            f"{count >> 20} MiB are too much to set aside",
            f"this machine has {total >> 20} MiB in all",
            "set aside at most half of it",
        )
    for start, end in ram:
        at = -(-max(start, LOWEST) // ALIGNMENT) * ALIGNMENT
        if at + count + ABOVE <= end:
            return at
    raise NoSpace(
        f"no {count >> 20} MiB of memory can be set aside",
        f"above 4 GiB there are no {(count + ABOVE) >> 20} MiB in one piece, with what a new "
        "kernel needs",
        "ask for less",
    )


def _system_ram(iomem: str) -> Iterator[tuple[int, int]]:
    """Start and end of each; the inner lines of the map are indented."""
    for line in iomem.splitlines():
        if found := _RAM.fullmatch(line):
            yield int(found[1], 16), int(found[2], 16) + 1


def word(count: int, start: int) -> str:
    """The parameter that sets it aside (memmap= in kernel-parameters.txt)."""
    return f"memmap={_short(count)}!{_short(start)}"


def _short(count: int) -> str:
    return f"{count >> 30}G" if count % (1 << 30) == 0 else f"{count >> 20}M"


def of_size(words: Iterable[str], count: int) -> str:
    """The one of these words that sets `count` bytes aside; empty when none does."""
    return next((each for each in words if spans(each) and spans(each)[1] == count), "")


def spans(text: str) -> tuple[int, ...]:
    """Start and size of the region that the word sets aside; empty when it is no such word."""
    found = _WORD.fullmatch(text)
    parts = [_SIZE.fullmatch(part) for part in found.groups()] if found else []
    if len(parts) != 2 or not all(parts):
        return ()
    count, start = (int(part[1]) << _UNITS[part[2]] for part in parts if part)
    return start, count


def set_aside(cmdline: str) -> int:
    """Bytes that a kernel with this command line leaves alone."""
    return sum(spans(word)[1] for word in cmdline.split() if spans(word))
