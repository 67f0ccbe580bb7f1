# SPDX-License-Identifier: LGPL-2.1-or-later
"""A real guest's state into a file and back; what stands in the way of it."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from liveupdated import pci
from liveupdated.errors import LiveUpdateError, RestoreFailed
from liveupdated.qemu import cmdline, files, guest, snapshot
from liveupdated.qemu.qmp import Monitor
from tests.lab import boot_sector

from .conftest import Guest

Start = Callable[..., Guest]

# mov dx, 0x604; mov ax, 0x2400; out dx, ax; hlt: to RAM, by the power management of QEMU's PC
# (SLP_EN and the sleep type of S3 in PM1_CNT, where its firmware puts that).
_CODE = bytes.fromhex("fa ba0406 b80024 ef f4 ebfd")
SUSPENDS = (_CODE.ljust(510, b"\0") + b"\x55\xaa").ljust(len(boot_sector.IMAGE), b"\0")


def monitor_of(small: Guest) -> Monitor:
    return Monitor(str(small.qmp), small.pid)


def look(small: Guest) -> guest.Look:
    with monitor_of(small) as monitor:
        return guest.look(monitor, small.pid, small.argv)


def ram_file(path: Path) -> list[str]:
    backend = f"memory-backend-file,id=ram,size=32M,share=on,mem-path={path}"
    return ["-object", backend, "-machine", "memory-backend=ram"]


def assert_counts_on(small: Guest) -> None:
    small.wait_count()
    numbers = small.counts()
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    folder = tmp_path / "artifacts"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("in_place", [False, True], ids=["saved", "in place"])
def test_there_and_back(start: Start, artifacts: Path, tmp_path: Path, in_place: bool) -> None:
    """Another QEMU goes on where the first one stood, which ran no instruction since."""
    more = ram_file(tmp_path / "ram") if in_place else []
    first = start(*more)
    first.wait_count()
    seen = look(first)
    assert seen.obstacles == ()
    assert seen.images == (str(first.image),)
    assert seen.ram == ((str(tmp_path / "ram"),) if in_place else ())
    assert seen.machine.startswith("pc-q35-")
    marks: list[str] = []
    with monitor_of(first) as monitor:
        snapshot.take(monitor, artifacts, seen.ram, marks.append)
    assert marks == ["frozen", "paused"]
    stood, image = len(first.counts()), files.identity(str(first.image))
    state = artifacts / snapshot.STATE
    assert (state.stat().st_size < 3 << 20) or not in_place
    first.end()
    assert files.identity(str(first.image)) == image
    second = start(*cmdline.again([*more], seen.machine))
    settings = snapshot.read_settings(artifacts)
    assert settings
    with monitor_of(second) as monitor:
        snapshot.load(monitor, artifacts, in_place=in_place)
        assert len(second.counts()) == stood
        snapshot.go_on(monitor, settings)
        now = monitor.execute("query-migrate-parameters")
        assert {key: now[key] for key in settings["parameters"]} == settings["parameters"]
    assert_counts_on(second)


@pytest.mark.parametrize("shared", [False, True])
def test_called_off_it_runs_on(start: Start, artifacts: Path, tmp_path: Path, shared: bool) -> None:
    small = start(*(ram_file(tmp_path / "ram") if shared else []))
    small.wait_count()
    seen = look(small)
    with monitor_of(small) as monitor:
        snapshot.take(monitor, artifacts, seen.ram, lambda name: None)
    with monitor_of(small) as monitor:  # another worker, which knows nothing of the first
        snapshot.undo(monitor, artifacts)
        snapshot.undo(monitor, artifacts)
    assert_counts_on(small)
    assert look(small).obstacles == ()


def test_what_was_paused_stays_paused(start: Start, artifacts: Path) -> None:
    small = start()
    with monitor_of(small) as monitor:
        monitor.execute("stop")
        snapshot.take(monitor, artifacts, [], lambda name: None)
        snapshot.undo(monitor, artifacts)
        assert monitor.execute("query-status")["status"] in ("paused", "postmigrate")


def status(monitor: Monitor) -> str:
    return str(monitor.execute("query-status")["status"])


def test_what_was_suspended_is_suspended_again_and_its_devices_are_no_obstacle(
    start: Start, artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.img").write_bytes(SUSPENDS)
    monkeypatch.setattr(pci, "opened_by", lambda pid: ["0000:03:00.0"])
    small = start()
    with monitor_of(small) as monitor:
        small.until(lambda: status(monitor) == "suspended")
    assert look(small).obstacles == ()
    with monitor_of(small) as monitor:
        snapshot.take(monitor, artifacts, [], lambda name: None)
    settings = snapshot.read_settings(artifacts)
    assert settings
    small.end()
    other = start("-incoming", "defer")
    with monitor_of(other) as monitor:
        snapshot.load(monitor, artifacts, in_place=False)
        snapshot.go_on(monitor, settings)
        assert status(monitor) == "suspended"
        monitor.execute("system_wakeup")


def test_a_running_guest_is_not_carried_with_devices_of_the_host(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pci, "opened_by", lambda pid: ["0000:03:00.0"])
    [obstacle] = look(start()).obstacles
    assert "it has 0000:03:00.0 of the host (VFIO)" in obstacle


def test_a_save_that_fails_half_way_is_undone(start: Start, artifacts: Path) -> None:
    """The disk for the state is full: it is a device that always is."""
    small = start()
    small.wait_count()
    (artifacts / snapshot.STATE).symlink_to("/dev/full")
    with monitor_of(small) as monitor:
        with pytest.raises((LiveUpdateError, OSError)):
            snapshot.take(monitor, artifacts, [], lambda name: None)
        assert not monitor.execute("query-status")["running"]
        snapshot.undo(monitor, artifacts)
    assert_counts_on(small)


def test_an_altered_state_is_refused_by_qemu(start: Start, artifacts: Path) -> None:
    first = start()
    first.wait_count()
    seen = look(first)
    with monitor_of(first) as monitor:
        snapshot.take(monitor, artifacts, [], lambda name: None)
    first.end()
    state = artifacts / snapshot.STATE
    state.write_bytes(state.read_bytes()[: 100 << 10])
    second = start(*cmdline.again([], seen.machine))
    with monitor_of(second) as monitor, pytest.raises(RestoreFailed, match="could not load"):
        snapshot.load(monitor, artifacts, in_place=False)


def test_what_stands_in_the_way_is_named(start: Start, tmp_path: Path) -> None:
    small = start(
        *("-device", "ivshmem-plain,memdev=shm"),
        *("-object", "memory-backend-ram,id=shm,size=1M,share=on"),
        *("-device", "pcie-root-port,id=rp0"),
    )
    overlay = tmp_path / "overlay.qcow2"
    with monitor_of(small) as monitor:
        monitor.execute("device_add", {"driver": "virtio-rng-pci", "id": "late", "bus": "rp0"})
        monitor.execute(
            "blockdev-snapshot-sync",
            {"device": "d", "snapshot-file": str(overlay), "format": "qcow2"},
        )
    words = "; ".join(look(small).obstacles)
    assert "its device late was plugged in" in words
    assert f"holds {overlay}" in words


def test_disks_that_the_jump_loses(start: Start, tmp_path: Path) -> None:
    small = start("-snapshot")
    assert "is gone (-snapshot" in "; ".join(look(small).obstacles)


def test_ram_in_memory_is_saved(start: Start) -> None:
    folder = Path("/dev/shm") / f"liveupdated-{os.getpid()}"
    folder.mkdir()
    try:
        assert look(start(*ram_file(folder / "ram"))).ram == ()
    finally:
        shutil.rmtree(folder)


def test_qemu_says_itself_what_cannot_be_migrated(start: Start, tmp_path: Path) -> None:
    image = tmp_path / "b.vmdk"
    subprocess.run(["qemu-img", "create", "-q", "-f", "vmdk", str(image), "1M"], check=True)
    small = start("-drive", f"if=none,id=v,file={image},format=vmdk")
    (words,) = look(small).obstacles
    assert words.startswith("QEMU says: ") and "vmdk" in words
    with monitor_of(small) as monitor, pytest.raises(LiveUpdateError, match="cannot be carried"):
        guest.carriable(monitor, small.pid, small.argv)
