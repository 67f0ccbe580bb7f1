# SPDX-License-Identifier: LGPL-2.1-or-later
"""The sections of PE files, which unified kernel images are."""

from dataclasses import dataclass

from liveupdated.errors import BadKernel
from liveupdated.kernels.window import Window

# The headers with the section table; systemd-stub itself needs them within the first pages.
_HEADERS = 64 << 10

_MACHINES = {0x8664: "x86_64", 0xAA64: "aarch64", 0x14C: "i686"}


@dataclass(frozen=True)
class Section:
    name: str
    start: int
    """Offset in the file."""
    size: int
    """In bytes, without the padding to the file's alignment."""


def read_sections(window: Window, name: str) -> tuple[str, list[Section]]:
    """The architecture (as `uname -m`, empty when unknown) and the sections in their order.

    Only the headers are read, so sections may reach past the end of a truncated file.  Raises
    BadKernel.
    """
    # Few hosts have such images, and the daemon has this module all day.
    import pefile  # noqa: PLC0415

    # Not closed: there is no file behind it, and close() runs a whole gc.collect() each time.
    try:
        parsed = pefile.PE(data=window.read(0, _HEADERS), fast_load=True)
    except pefile.PEFormatError as error:
        raise BadKernel(
            f"{name} is no kernel image", str(error), "reinstall the package it belongs to"
        ) from error
    sections = [
        Section(
            name=section.Name.rstrip(b"\0").decode("ascii", "replace"),
            start=section.PointerToRawData,
            # The raw size is rounded up, the virtual one is what was put in.
            size=min(section.Misc_VirtualSize, section.SizeOfRawData),
        )
        for section in parsed.sections
    ]
    return _MACHINES.get(parsed.FILE_HEADER.Machine, ""), sections


def first_profile(sections: list[Section]) -> list[Section]:
    """What is booted when nobody asks for a profile: the base with profile @0 laid over it.

    Source: UAPI.5, multi-profile UKIs.
    """
    chosen: dict[str, Section] = {}
    profiles = 0
    for section in sections:
        if section.name == ".profile":
            profiles += 1
            if profiles > 1:
                break
        chosen[section.name] = section
    return list(chosen.values())
