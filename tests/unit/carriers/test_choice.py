# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which carrier is taken, and what is said about it."""

import dataclasses
import re
from pathlib import Path

import pytest

from liveupdated import carriers, paths
from liveupdated.carriers import Carrier, pmem
from liveupdated.carriers.choice import SPACE_RESERVE, choose, find

MIB = 1 << 20
WORD = "memmap=1G!4G"
PMEM = Carrier("pmem", Path("/p"), SPACE_RESERVE + 10 * MIB, "quicker", words=(WORD,))
DISK = Carrier("disk", Path("/d"), 1 << 40, "the state folder is on it")


def test_the_quickest_is_taken_where_it_has_room() -> None:
    assert choose([PMEM, DISK], 10 * MIB, f"quiet {WORD}") == PMEM
    chosen = choose([PMEM, DISK], 11 * MIB, f"quiet {WORD}")
    assert chosen.name == "disk"
    assert chosen.reason == "not pmem: /p has 74 MiB free, the save needs 75 MiB"


def test_a_region_that_the_next_kernel_would_take_is_not_taken() -> None:
    chosen = choose([PMEM, DISK], 1, "quiet memmap=1G!5G")
    assert chosen.name == "disk" and chosen.reason.endswith(f"without {WORD}")
    assert choose([PMEM, DISK], 1, None) == PMEM  # a rehearsal: this kernel goes on


def test_the_last_is_taken_whatever_is_against_the_others() -> None:
    full = dataclasses.replace(DISK, free_bytes=0)
    assert choose([dataclasses.replace(PMEM, obstacle="it burns"), full], 1, "") == (
        dataclasses.replace(full, reason="not pmem: it burns")
    )


def test_a_carrier_is_the_same_after_the_way_through_json() -> None:
    assert carriers.from_json(carriers.to_json(PMEM)) == PMEM


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of mounts in which something else is mounted already."""
    monkeypatch.setattr(paths, "STATE", tmp_path)
    monkeypatch.setattr(paths, "PMEM", tmp_path / "pmem")
    paths.PMEM.mkdir(mode=0o700)
    table = tmp_path / "mountinfo"
    table.write_text("22 1 259:0 / / rw,relatime shared:1 - ext4 /dev/nvme0n1 rw\n")
    monkeypatch.setattr(pmem, "MOUNTS", table)
    return table


def mount(table: Path, device: str, options: str) -> None:
    with table.open("a") as file:
        file.write(f"90 22 259:3 / {paths.PMEM} rw shared:40 - ext4 {device} {options}\n")


def test_without_a_region_the_disk_is_taken_and_says_why(mounts: Path) -> None:
    chosen = choose(find(), 0, "")
    assert (chosen.name, chosen.folder) == ("disk", paths.STATE)
    assert chosen.reason == f"not pmem: nothing is mounted at {paths.PMEM}"


@pytest.mark.parametrize(
    ("device", "options", "obstacle"),
    [
        ("/dev/sdb1", "rw,dax=always", "/dev/sdb1 is mounted at .*, which is no pmem device"),
        ("/dev/pmem0", "rw,noatime", "/dev/pmem0 is mounted without dax=always"),
        ("/dev/pmem0", "rw,dax=inode", "/dev/pmem0 is mounted without dax=always"),
    ],
)
def test_what_is_no_memory_is_not_taken(
    mounts: Path, device: str, options: str, obstacle: str
) -> None:
    mount(mounts, device, options)
    found = pmem.probe()
    assert re.fullmatch(obstacle, found.obstacle)
    assert found.free_bytes == 0


def test_a_region_that_others_can_read_is_not_taken(mounts: Path) -> None:
    mount(mounts, "/dev/pmem0", "rw,dax=always")
    assert pmem.probe().obstacle == ""
    paths.PMEM.chmod(0o755)
    assert pmem.probe().obstacle == f"{paths.PMEM} is not root's alone"


def test_the_words_that_set_memory_aside() -> None:
    line = f"root=/dev/sda quiet {WORD} memmap=64K$0x18690000 mem=4G"
    assert pmem.protected(line) == (WORD,)
