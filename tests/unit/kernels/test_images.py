# SPDX-License-Identifier: LGPL-2.1-or-later
import gzip
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liveupdated.errors import BadKernel
from liveupdated.kernels import images
from liveupdated.kernels.images import Image, Kind
from liveupdated.kernels.window import to_memory
from tests.unit.kernels import fabricate


def read(data: bytes) -> Image:
    fd = to_memory("test", [data])
    try:
        return images.read_image(fd, "/boot/x")
    finally:
        os.close(fd)


def content(fd: int) -> bytes:
    with os.fdopen(fd, "rb") as file:
        return file.read()


def payload(data: bytes) -> bytes:
    fd = to_memory("test", [data])
    try:
        return content(images.payload(fd, images.read_image(fd)))
    finally:
        os.close(fd)


def test_bzimage_header() -> None:
    image = read(fabricate.bzimage("6.12.117+deb13-cloud-amd64", build="#1 SMP Debian (2026)"))
    assert image.kind is Kind.BZIMAGE
    assert image.arch == "x86_64"
    assert image.release == "6.12.117+deb13-cloud-amd64"
    assert image.build == "#1 SMP Debian (2026)"
    assert image.cmdline_size == 2047
    assert image.obstacles == ()


def test_signature_after_the_bzimage_is_no_harm() -> None:
    assert read(fabricate.bzimage() + b"signature").release == "6.12.1-test"


def test_32_bit_bzimage_is_for_another_architecture() -> None:
    assert read(fabricate.bzimage(bits=32)).arch == "i686"


def test_bzimage_that_is_not_relocatable_has_an_obstacle() -> None:
    assert "CONFIG_RELOCATABLE" in read(fabricate.bzimage(relocatable=False)).obstacles[0]


def test_bzimage_of_an_old_protocol_has_an_obstacle() -> None:
    assert "2.10" in read(fabricate.bzimage(protocol=0x20A)).obstacles[0]


@pytest.mark.parametrize("left", [0x250, 0x300, 2048, 6143])
def test_truncated_bzimage(left: int) -> None:
    with pytest.raises(BadKernel, match=r"/boot/x is truncated: the file has \d+ bytes"):
        read(fabricate.bzimage()[:left])


@pytest.mark.parametrize("data", [b"", b"hello, I am a text file\n" * 100, bytes(5000), b"MZ"])
def test_what_is_no_image(data: bytes) -> None:
    with pytest.raises(BadKernel, match="/boot/x is no kernel image"):
        read(data)


def test_arm64_image_takes_its_version_from_the_banner() -> None:
    image = read(fabricate.arm64("6.18.3-arm64"))
    assert (image.kind, image.arch) == (Kind.ARM64, "aarch64")
    assert (image.release, image.build) == ("6.18.3-arm64", fabricate.BUILD)


def test_banner_across_two_chunks_is_found() -> None:
    data = bytearray(fabricate.arm64() + bytes(1 << 20))
    banner = data[4096:4200]
    data[4096:4200] = bytes(104)
    data[(1 << 20) - 20 : (1 << 20) + 84] = banner
    assert read(bytes(data)).release == "6.12.1-arm"


def test_big_endian_arm64_has_an_obstacle() -> None:
    assert read(fabricate.arm64(flags=1)).obstacles


@pytest.mark.parametrize(
    ("wrapped", "kind"),
    [
        (gzip.compress(fabricate.arm64()), Kind.ARM64_GZIP),
        (fabricate.zboot(fabricate.arm64()), Kind.ZBOOT),
        (fabricate.zboot(fabricate.arm64(), "xzkern"), Kind.ZBOOT),
    ],
)
def test_compressed_arm64_images_are_unpacked(wrapped: bytes, kind: Kind) -> None:
    image = read(wrapped)
    assert (image.kind, image.release) == (kind, "6.12.1-arm")
    assert payload(wrapped) == fabricate.arm64()


def test_unknown_compression_is_named() -> None:
    with pytest.raises(BadKernel, match="zstd22"):
        read(fabricate.zboot(fabricate.arm64(), "zstd22"))


def test_truncated_gzip_is_never_loaded() -> None:
    packed = gzip.compress(fabricate.arm64() + os.urandom(5000))
    with pytest.raises(BadKernel, match="truncated"):
        payload(packed[:-100])


@pytest.mark.parametrize("left", [9, 55, 0x210])
def test_truncated_zboot(left: int) -> None:
    with pytest.raises(BadKernel, match="truncated"):
        read(fabricate.zboot(fabricate.arm64())[:left])


def test_gzip_of_something_else() -> None:
    with pytest.raises(BadKernel, match="no arm64 Image"):
        read(gzip.compress(b"a letter to my aunt"))


def test_uki_is_taken_apart() -> None:
    linux = fabricate.bzimage("6.18.1-uki")
    data = fabricate.uki(linux, ucode=b"microcode", initrd=b"initrd" * 999, cmdline="root=/dev/sda")
    image = read(data)
    assert (image.kind, image.arch, image.release) == (Kind.UKI, "x86_64", "6.18.1-uki")
    assert image.cmdline == "root=/dev/sda"
    assert payload(data) == linux
    fd = to_memory("test", [data])
    initrds = [content(initrd) for initrd in images.embedded_initrds(fd, image)]
    os.close(fd)
    assert initrds == [b"microcode", b"initrd" * 999]


def test_uki_of_arm64_with_compressed_kernel() -> None:
    data = fabricate.uki(fabricate.zboot(fabricate.arm64()), machine=0xAA64)
    assert read(data).arch == "aarch64"
    assert payload(data) == fabricate.arm64()


def test_uki_without_command_line_says_so() -> None:
    assert read(fabricate.uki(cmdline=None)).cmdline is None


def test_uki_release_comes_from_the_kernel_not_from_the_label() -> None:
    assert read(fabricate.uki(uname="1.2.3-label")).release == "6.12.1-test"
    silent = fabricate.uki(fabricate.arm64("x"), uname="1.2.3-label", machine=0xAA64)
    assert read(silent).release == "1.2.3-label"


def test_first_profile_is_laid_over_the_base() -> None:
    image = read(
        fabricate.uki(
            cmdline="base",
            more=[
                (".profile", b"ID=regular"),
                (".cmdline", b"regular"),
                (".profile", b"ID=reset"),
                (".cmdline", b"reset"),
            ],
        )
    )
    assert image.cmdline == "regular"


def test_efi_program_without_kernel() -> None:
    with pytest.raises(BadKernel, match=r"without a \.linux section"):
        read(fabricate.pe([(".text", b"\xc3" * 100)]))


def test_truncated_uki() -> None:
    with pytest.raises(BadKernel, match="truncated"):
        read(fabricate.uki()[:-2048])


def test_uki_with_truncated_kernel() -> None:
    with pytest.raises(BadKernel, match=r"the \.linux section of /boot/x is truncated"):
        read(fabricate.uki(fabricate.bzimage()[:4000]))


def test_plain_image_is_loaded_from_its_own_file(tmp_path: Path) -> None:
    path = fabricate.put(tmp_path / "x", fabricate.bzimage())
    with path.open("rb") as file:
        fd = images.payload(file.fileno(), images.read_image(file.fileno()))
        assert os.path.sameopenfile(fd, file.fileno())
        os.close(fd)


@settings(max_examples=300)
@given(
    st.sampled_from(
        [
            fabricate.bzimage(),
            fabricate.uki(),
            fabricate.arm64(),
            fabricate.zboot(fabricate.arm64()),
        ]
    ),
    st.lists(st.tuples(st.integers(0, 1200), st.integers(0, 255)), max_size=6),
    st.integers(0, 20000),
)
def test_damaged_images_are_read_or_refused_and_nothing_else(
    data: bytes, damage: list[tuple[int, int]], left: int
) -> None:
    damaged = bytearray(data)
    for offset, byte in damage:
        damaged[offset % len(data)] = byte
    try:
        image = read(bytes(damaged[:left]))
    except BadKernel as error:
        assert error.what and error.why
    else:
        assert image.arch in ("x86_64", "i686", "aarch64")
