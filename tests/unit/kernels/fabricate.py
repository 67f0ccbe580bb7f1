# SPDX-License-Identifier: LGPL-2.1-or-later
"""Small kernel images with true headers."""

import gzip
import lzma
import struct
from pathlib import Path

BUILD = "#1 SMP PREEMPT_DYNAMIC Test 1"


def bzimage(
    release: str = "6.12.1-test",
    *,
    build: str = BUILD,
    bits: int = 64,
    relocatable: bool = True,
    protocol: int = 0x20F,
    size: int = 4096,
    cmdline_size: int = 2047,
) -> bytes:
    """A bzImage whose protected-mode part has `size` bytes."""
    setup_sects = 3
    image = bytearray((setup_sects + 1) * 512 + size)
    image[0:2] = b"MZ"
    image[0x1F1] = setup_sects
    struct.pack_into("<I", image, 0x1F4, size // 16)
    image[0x1FE:0x200] = b"\x55\xaa"
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x206, protocol)
    struct.pack_into("<H", image, 0x20E, 0x300)
    image[0x211] = 1
    image[0x234] = relocatable
    xloadflags = (1 if bits == 64 else 0) | (2 if relocatable and bits == 64 else 0)
    struct.pack_into("<H", image, 0x236, xloadflags)
    struct.pack_into("<I", image, 0x238, cmdline_size)
    text = f"{release} (builder@host) {build}\0".encode()
    image[0x500 : 0x500 + len(text)] = text
    return bytes(image)


def arm64(release: str = "6.12.1-arm", *, build: str = BUILD, flags: int = 0xA) -> bytes:
    image = bytearray(8192)
    struct.pack_into("<QQ", image, 16, len(image), flags)
    image[0x38:0x3C] = b"ARM\x64"
    banner = f"Linux version {release} (builder@host) (gcc 14) {build}\n\0".encode()
    image[4096 : 4096 + len(banner)] = banner
    return bytes(image)


def zboot(inner: bytes, method: str = "gzip") -> bytes:
    packed = gzip.compress(inner) if method == "gzip" else lzma.compress(inner)
    header = bytearray(0x200)
    header[0:8] = b"MZ\0\0zimg"
    struct.pack_into("<II", header, 8, len(header), len(packed))
    header[24 : 24 + len(method)] = method.encode()
    return bytes(header) + packed + bytes(16)


def pe(sections: list[tuple[str, bytes]], *, machine: int = 0x8664) -> bytes:
    """A PE32+ EFI application with these sections, as ukify lays them out."""
    align = 512
    headers = bytearray(b"MZ" + bytes(62))
    struct.pack_into("<I", headers, 0x3C, 64)
    headers += b"PE\0\0"
    headers += struct.pack("<HHIIIHH", machine, len(sections), 0, 0, 0, 240, 0x2022)
    optional = bytearray(240)
    struct.pack_into("<H", optional, 0, 0x20B)
    struct.pack_into("<II", optional, 32, 4096, align)  # section and file alignment
    struct.pack_into("<H", optional, 68, 10)  # EFI application
    struct.pack_into("<I", optional, 108, 16)
    headers += optional
    table_end = len(headers) + 40 * len(sections)
    at = -(-table_end // align) * align
    body = bytearray()
    virtual = 0x10000
    for name, data in sections:
        raw = -(-len(data) // align) * align
        headers += struct.pack(
            "<8sIIIIIIHHI", name.encode(), len(data), virtual, raw, at, 0, 0, 0, 0, 0x40000040
        )
        body += data.ljust(raw, b"\0")
        at += raw
        virtual += -(-len(data) // 4096) * 4096 + 4096
    return bytes(headers).ljust(-(-table_end // align) * align, b"\0") + bytes(body)


def uki(
    linux: bytes | None = None,
    *,
    initrd: bytes | None = b"initrd",
    ucode: bytes | None = None,
    cmdline: str | None = "root=/dev/vda1 quiet",
    uname: str = "",
    more: list[tuple[str, bytes]] | None = None,
    machine: int = 0x8664,
) -> bytes:
    parts = [
        (".text", b"\xc3" * 100),
        (".uname", uname.encode() or None),
        (".cmdline", None if cmdline is None else cmdline.encode() + b"\n\0"),
        (".ucode", ucode),
        (".initrd", initrd),
        (".linux", bzimage() if linux is None else linux),
    ]
    sections = [(name, data) for name, data in parts if data is not None]
    return pe(sections + (more or []), machine=machine)


def put(path: Path, data: bytes | str, mode: int = 0o644) -> Path:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    path.chmod(mode)
    return path
