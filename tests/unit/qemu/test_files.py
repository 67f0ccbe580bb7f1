# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether a file is as it was, and whether it outlives the boot."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from liveupdated.errors import RestoreFailed
from liveupdated.qemu import files


def other_size(image: Path) -> None:
    image.write_bytes(b"longer than before")


def other_content(image: Path) -> None:
    image.write_bytes(image.read_bytes()[::-1])
    os.utime(image, ns=(1, 1))  # the clock's grain may be coarser than a test


def other_file(image: Path) -> None:
    before = image.stat()
    copy = image.with_suffix(".copy")
    copy.write_bytes(image.read_bytes())
    copy.rename(image)
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))


def no_file(image: Path) -> None:
    image.unlink()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (other_size, "size"),
        (other_content, "modification time"),
        (other_file, "inode"),
        (no_file, "cannot be found"),
    ],
)
def test_a_changed_image_is_refused(
    tmp_path: Path, change: Callable[[Path], None], word: str
) -> None:
    image = tmp_path / "a.img"
    image.write_bytes(b"the disk")
    saved = files.identity(str(image))
    files.refuse_changed("its disk image", str(image), saved)
    change(image)
    with pytest.raises(RestoreFailed, match=word) as error:
        files.refuse_changed("its disk image", str(image), saved)
    assert str(image) in str(error.value)


def test_only_the_content_of_a_short_file_is_digested(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_bytes(b"x" * 100)
    before = files.fingerprint(path)
    os.utime(path, ns=(1, 1))
    assert files.fingerprint(path) == before
    path.write_bytes(b"y" * 100)
    assert files.fingerprint(path) != before
    os.truncate(path, files.DIGESTED + 1)  # sparse
    before = files.fingerprint(path)
    os.utime(path, ns=(2, 2))
    assert files.fingerprint(path) != before


def test_files_that_would_not_be_there_after_the_jump(tmp_path: Path) -> None:
    on_disk, pid = tmp_path / "a.img", os.getpid()
    on_disk.touch()
    assert files.obstacles(pid, "its disk image", str(on_disk), set()) == []
    memory = {on_disk.stat().st_dev}
    (found,) = files.obstacles(pid, "its disk image", str(on_disk), memory)
    assert "in memory" in found
    (found,) = files.obstacles(pid, "its disk image", str(tmp_path / "gone"), set())
    assert "is gone" in found


def test_file_systems_in_memory_are_found() -> None:
    memory = files.devices_in_memory()
    assert os.stat("/dev/shm").st_dev in memory
    assert os.stat("/proc").st_dev not in memory
