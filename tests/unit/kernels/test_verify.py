# SPDX-License-Identifier: LGPL-2.1-or-later
import os
from pathlib import Path

import pytest

from liveupdated.errors import BadKernel
from liveupdated.kernels import verify
from tests.unit.kernels.fabricate import put

TRUSTED_UID = verify.TRUSTED_UID  # before the fixture changes it

ALLOWED = ("/boot", "/usr/lib/modules")


def refused(path: Path) -> BadKernel:
    with pytest.raises(BadKernel) as caught:
        os.close(verify.open_trusted(path, ALLOWED))
    assert caught.value.why
    return caught.value


def test_a_file_that_is_all_right(root: Path) -> None:
    path = put(root / "boot/vmlinuz-1", b"image")
    fd = verify.open_trusted(path, ALLOWED)
    try:
        assert os.read(fd, 100) == b"image"
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_file_that_others_can_write_to(root: Path, mode: int) -> None:
    error = refused(put(root / "boot/vmlinuz-1", b"image", mode))
    assert f"mode 0{mode:o}" in error.why
    assert "chmod go-w" in error.hint


def test_folder_that_others_can_write_to(root: Path) -> None:
    path = put(root / "boot/deep/vmlinuz-1", b"image")
    (root / "boot").chmod(0o777)
    assert "others than root can write" in refused(path).why


def test_file_of_another_user(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(root / "boot/vmlinuz-1", b"image")
    monkeypatch.setattr(verify, "TRUSTED_UID", os.getuid() + 1)
    assert f"belongs to user {os.getuid()}" in refused(path).why


def test_outside_of_tests_only_root_is_trusted() -> None:
    assert TRUSTED_UID == 0


def test_symbolic_link(root: Path) -> None:
    put(root / "boot/vmlinuz-1", b"image")
    (root / "boot/vmlinuz").symlink_to("vmlinuz-1")
    assert "symbolic link" in refused(root / "boot/vmlinuz").why


def test_symbolic_link_on_the_way(root: Path) -> None:
    put(root / "boot/real/vmlinuz-1", b"image")
    (root / "boot/link").symlink_to("real")
    assert str(root / "boot/link") in refused(root / "boot/link/vmlinuz-1").why


@pytest.mark.parametrize("name", ["home/mallory/vmlinuz", "bootleg/vmlinuz", "boot/../etc/vmlinuz"])
def test_outside_of_the_allowed_folders(root: Path, name: str) -> None:
    put(root / "boot/x", b"")
    put(root / name, b"image")
    assert "not in one of the folders" in refused(root / name).why


def test_what_is_no_file(root: Path) -> None:
    (root / "boot/folder").mkdir(parents=True)
    os.mkfifo(root / "boot/fifo")
    assert "regular" in refused(root / "boot/folder").why
    assert "regular" in refused(root / "boot/fifo").why


def test_what_is_not_there(root: Path) -> None:
    assert "No such file" in refused(root / "boot/vmlinuz-1").why


def test_nothing_stays_open(root: Path) -> None:
    put(root / "boot/vmlinuz-1", b"image", 0o666)
    before = len(os.listdir("/proc/self/fd"))
    for name in ("vmlinuz-1", "none", "none/none"):
        refused(root / "boot" / name)
    assert len(os.listdir("/proc/self/fd")) == before
