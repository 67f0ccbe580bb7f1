# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an image file is, read from its header: x86 bzImage, arm64 Image, EFI zboot, UKI.

Sources: Documentation/arch/x86/boot.rst, Documentation/arch/arm64/booting.rst,
drivers/firmware/efi/libstub/zboot-header.S, UAPI.5 (unified kernel image).
"""

import os
import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from liveupdated.errors import BadKernel
from liveupdated.kernels import pe
from liveupdated.kernels.window import Window, to_memory


class Kind(StrEnum):
    BZIMAGE = "bzimage"
    ARM64 = "arm64"
    ARM64_GZIP = "arm64-gzip"
    ZBOOT = "zboot"
    UKI = "uki"


@dataclass(frozen=True)
class Image:
    """What the header says."""

    kind: Kind
    arch: str
    """As `uname -m`; that of the kernel inside where there is one."""
    release: str
    """As `uname -r`; empty when the image does not say."""
    build: str
    """As `uname -v`, which tells two builds of one release apart; empty when unknown."""
    cmdline_size: int
    """The longest command line in bytes, its closing NUL counted."""
    obstacles: tuple[str, ...] = ()
    """Why kexec cannot take it, in sentences."""
    sections: tuple[pe.Section, ...] = ()
    """Of a UKI: those of the base profile and of profile 0."""
    cmdline: str | None = None
    """A UKI's own."""

    def section(self, name: str) -> pe.Section | None:
        return next((section for section in self.sections if section.name == name), None)


_HINT = "reinstall the package it belongs to"
_ARM64_MAGIC = b"ARM\x64"
_ARM64_CMDLINE_SIZE = 2048  # COMMAND_LINE_SIZE of arch/arm64
_BZIMAGE_HEADER = 0x268
_BANNER = re.compile(rb"Linux version (\d[^ \0]{0,127}) [^\0\n]{0,512}?(#\d[^\0\n]{0,128})\n")
_BANNER_MAX = 1024


def host_arch() -> str:
    """The architecture that images must be for, as `uname -m`."""
    return os.uname().machine


def read_image(fd: int, name: str = "the image") -> Image:
    """What the open file is; `name` is for the errors.

    Raises BadKernel when it is no kernel image, or not all of one.
    """
    return _read(Window.whole(fd), name)


def _read(window: Window, name: str) -> Image:
    head = window.read(0, _BZIMAGE_HEADER)
    if head[0x202:0x206] == b"HdrS" and head[0x1FE:0x200] == b"\x55\xaa":
        return _read_bzimage(window, head, name)
    if head[0x38:0x3C] == _ARM64_MAGIC:
        return _read_arm64(window, head, name)
    if head[:2] == b"MZ" and head[4:8] == b"zimg":
        return _read_compressed(Kind.ZBOOT, window, name)
    if head[:3] == b"\x1f\x8b\x08":
        return _read_compressed(Kind.ARM64_GZIP, window, name)
    if head[:2] == b"MZ":
        return _read_uki(window, name)
    raise BadKernel(
        f"{name} is no kernel image",
        "its header is not that of a bzImage, an arm64 Image or a unified kernel image"
        if head
        else "the file is empty",
        _HINT,
    )


def _read_bzimage(window: Window, head: bytes, name: str) -> Image:
    if len(head) < _BZIMAGE_HEADER:
        raise _truncated(name, window.size, _BZIMAGE_HEADER)
    (protocol,) = struct.unpack_from("<H", head, 0x206)
    (syssize,) = struct.unpack_from("<I", head, 0x1F4)
    (version_at,) = struct.unpack_from("<H", head, 0x20E)
    # "For backwards compatibility, if the setup_sects field contains 0, the real value is 4."
    setup = ((head[0x1F1] or 4) + 1) * 512
    wanted = setup + syssize * 16
    if window.size < wanted:
        raise _truncated(name, window.size, wanted)
    text = window.read(version_at + 0x200, 512).split(b"\0", 1)[0] if version_at else b""
    release, _, rest = text.decode("ascii", "replace").partition(" ")
    _, number, build = rest.partition("#")
    xloadflags, cmdline_size = 0, 255
    if protocol >= 0x206:
        (cmdline_size,) = struct.unpack_from("<I", head, 0x238)
    if protocol >= 0x20C:
        (xloadflags,) = struct.unpack_from("<H", head, 0x236)
    is_64 = bool(xloadflags & 1)  # XLF_KERNEL_64
    obstacles = []
    # The same questions that bzImage64_probe() of arch/x86/kernel/kexec-bzimage64.c asks.
    if not head[0x211] & 1:
        obstacles.append("it is an old zImage, which kexec cannot load")
    if protocol < 0x20C:
        obstacles.append(f"its boot protocol is {protocol >> 8}.{protocol & 255:02}, not 2.12")
    elif is_64 and not (head[0x234] and xloadflags & 2):  # XLF_CAN_BE_LOADED_ABOVE_4G
        obstacles.append("it was built without CONFIG_RELOCATABLE")
    return Image(
        kind=Kind.BZIMAGE,
        arch="x86_64" if is_64 else "i686",
        release=release,
        build=number + build.strip(),
        cmdline_size=cmdline_size,
        obstacles=tuple(obstacles),
    )


def _read_arm64(window: Window, head: bytes, name: str) -> Image:
    if head[:2] == b"MZ":  # with an EFI stub; its section table tells how long the file must be
        _, sections = pe.read_sections(window, name)
        wanted = max((section.start + section.size for section in sections), default=0)
        if window.size < wanted:
            raise _truncated(name, window.size, wanted)
    return _arm64(Kind.ARM64, window.chunks(), head)


def _read_compressed(kind: Kind, window: Window, name: str) -> Image:
    chunks = _decompressed(kind, window, name)
    first = next(chunks, b"")
    if first[0x38:0x3C] != _ARM64_MAGIC:
        raise BadKernel(f"{name} is no kernel image", "what it holds is no arm64 Image", _HINT)
    return _arm64(kind, _with_first(first, chunks), first)


def _with_first(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _arm64(kind: Kind, chunks: Iterable[bytes], head: bytes) -> Image:
    """The header of an Image has no version: it is that of the banner /proc/version shows."""
    release = build = ""
    tail = b""
    for chunk in chunks:
        if match := _BANNER.search(tail + chunk):
            release, build = (group.decode("ascii", "replace") for group in match.groups())
            break
        tail = chunk[-_BANNER_MAX:]
    (flags,) = struct.unpack_from("<Q", head, 24)
    return Image(
        kind=kind,
        arch="aarch64",
        release=release,
        build=build.strip(),
        cmdline_size=_ARM64_CMDLINE_SIZE,
        obstacles=("it is a big-endian kernel",) if flags & 1 else (),
    )


def _read_uki(window: Window, name: str) -> Image:
    arch, sections = pe.read_sections(window, name)
    sections = pe.first_profile(sections)
    for section in sections:
        if section.start + section.size > window.size:
            raise _truncated(name, window.size, section.start + section.size)
    found = {section.name: section for section in sections}
    if ".linux" not in found:
        raise BadKernel(
            f"{name} is no kernel image", "it is an EFI program without a .linux section", _HINT
        )
    inner = _read(_section(window, found[".linux"]), f"the .linux section of {name}")
    if inner.kind is Kind.UKI:
        raise BadKernel(f"{name} is no kernel image", "its .linux section is no kernel", _HINT)
    return Image(
        kind=Kind.UKI,
        arch=inner.arch or arch,
        release=inner.release or _text(window, found.get(".uname")),
        build=inner.build,
        cmdline_size=inner.cmdline_size,
        obstacles=inner.obstacles,
        sections=tuple(sections),
        cmdline=_text(window, found[".cmdline"]) if ".cmdline" in found else None,
    )


def payload(fd: int, image: Image, name: str = "the image") -> int:
    """A descriptor of what kexec_file_load takes; the caller closes it.

    A bzImage and an arm64 Image are taken as they are; out of a UKI and out of compressed images
    the kernel is copied to memory, for the syscall refuses the wrapping (ENOEXEC).  Raises
    BadKernel.
    """
    return _payload(Window.whole(fd), image.kind, name)


def _payload(window: Window, kind: Kind, name: str) -> int:
    if kind is Kind.UKI:
        _, sections = pe.read_sections(window, name)
        (linux,) = (s for s in pe.first_profile(sections) if s.name == ".linux")
        inner = _section(window, linux)
        inner_kind = _read(inner, f"the .linux section of {name}").kind
        if inner_kind in (Kind.BZIMAGE, Kind.ARM64):
            return to_memory("linux", inner.chunks())
        return _payload(inner, inner_kind, name)
    if kind in (Kind.ZBOOT, Kind.ARM64_GZIP):
        return to_memory("linux", _decompressed(kind, window, name))
    return os.dup(window.fd)


def embedded_initrds(fd: int, image: Image) -> list[int]:
    """The initrds inside a UKI as memfds, microcode first (UAPI.5); the caller closes them."""
    found: list[int] = []
    window = Window.whole(fd)
    for name in (".ucode", ".initrd"):
        if section := image.section(name):
            found.append(to_memory(name.strip("."), _section(window, section).chunks()))
    return found


def linux_sha256(fd: int, image: Image) -> str:
    """Digest of the kernel proper: of a UKI's .linux section, else of the whole file."""
    window = Window.whole(fd)
    linux = image.section(".linux")
    return (_section(window, linux) if linux else window).sha256()


def linux_size(image: Image, file_size: int) -> int:
    """Its size in bytes."""
    linux = image.section(".linux")
    return linux.size if linux else file_size


def _section(window: Window, section: pe.Section) -> Window:
    return window.part(section.start, section.size)


def _text(window: Window, section: pe.Section | None) -> str:
    if section is None:
        return ""
    data = _section(window, section).read(0, section.size)
    return " ".join(data.split(b"\0", 1)[0].decode("utf-8", "replace").split())


def _decompressed(kind: Kind, window: Window, name: str) -> Iterator[bytes]:
    import lzma  # noqa: PLC0415 - no image of x86 needs it

    method = "gzip"
    if kind is Kind.ZBOOT:
        header = window.read(0, 56)
        if len(header) < 56:
            raise _truncated(name, window.size, 56)
        start, size = struct.unpack_from("<II", header, 8)
        method = header[24:56].split(b"\0", 1)[0].decode("ascii", "replace")
        if start + size > window.size:
            raise _truncated(name, window.size, start + size)
        window = window.part(start, size)
    unpacker: zlib._Decompress | lzma.LZMADecompressor
    if method == "gzip":
        unpacker = zlib.decompressobj(wbits=31)
    elif method in ("xzkern", "lzma"):
        unpacker = lzma.LZMADecompressor()
    else:
        raise BadKernel(
            f"{name} cannot be unpacked",
            f"it is compressed with {method}, and only gzip, xz and lzma are known here",
            "install the kernel as an uncompressed Image or as a gzip-compressed one",
        )
    try:
        for chunk in window.chunks():
            if data := unpacker.decompress(chunk):
                yield data
            if unpacker.eof:
                return
    except (zlib.error, lzma.LZMAError) as error:
        raise BadKernel(f"{name} cannot be unpacked", str(error), _HINT) from error
    raise BadKernel(f"{name} is truncated", "its compressed data has no end", _HINT)


def _truncated(name: str, size: int, wanted: int) -> BadKernel:
    return BadKernel(
        f"{name} is truncated",
        f"the file has {size} bytes, its header promises {wanted}",
        _HINT,
    )
