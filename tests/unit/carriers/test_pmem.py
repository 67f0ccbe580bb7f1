# SPDX-License-Identifier: LGPL-2.1-or-later
"""The pmem carrier as a boot finds it: which modules make its device, and what is mounted."""

from pathlib import Path

import pytest

from liveupdated import paths, systemd
from liveupdated.carriers import pmem
from liveupdated.errors import ServiceError


@pytest.fixture
def unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "pmem.mount"
    monkeypatch.setattr(paths, "PMEM_UNIT_FILE", file)
    return file


def test_modules_are_those_of_all_that_the_device_is_a_part_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As /sys is for `memmap=`: e820_pmem makes the bus, nd_region the region, nd_pmem the disk."""
    block = tmp_path / "devices/e820_pmem/ndbus0/region0/namespace0.0/block/pmem0"
    block.mkdir(parents=True)
    for level, module in ((0, "nd_pmem"), (1, "libnvdimm"), (3, "nd_e820")):
        driver = tmp_path / f"drivers/{module}-driver"
        driver.mkdir(parents=True)
        (tmp_path / "module" / module).mkdir(parents=True)
        (driver / "module").symlink_to(tmp_path / "module" / module)
        (block.parents[1 + level] / "driver").symlink_to(driver)
    (tmp_path / "block").mkdir()
    (tmp_path / "block/pmem0").symlink_to(block)
    monkeypatch.setattr(pmem, "BLOCK_DEVICES", tmp_path / "block")
    monkeypatch.setattr(pmem, "mounted", lambda: ("/dev/pmem0", ["dax=always"]))
    assert pmem.modules() == ["nd_e820", "libnvdimm", "nd_pmem"]
    monkeypatch.setattr(pmem, "mounted", lambda: ("", []))
    assert pmem.modules() == []


def test_a_region_that_is_not_there_is_told_by_name(
    unit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit.write_text("[Mount]\nWhat=/dev/pmem77\n")
    monkeypatch.setattr(pmem, "DEVICE_LIMIT_S", 0.03)
    with pytest.raises(ServiceError, match="there is no /dev/pmem77"):
        pmem.mount()


def test_what_cannot_be_mounted_is_told_in_mounts_own_words(unit: Path) -> None:
    unit.write_text("[Mount]\nWhat=/dev/null\n")
    with pytest.raises(ServiceError, match="/dev/null could not be mounted") as raised:
        pmem.mount()
    assert raised.value.why


def test_a_mount_of_somebody_elses_is_asked_for_by_its_unit(
    unit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(systemd, "start", asked.append)
    pmem.mount()
    assert asked == [paths.PMEM_UNIT]
