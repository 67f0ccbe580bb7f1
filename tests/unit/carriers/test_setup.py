# SPDX-License-Identifier: LGPL-2.1-or-later
"""The files that set the pmem carrier up; with devices it is tried in a virtual machine."""

import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from liveupdated import paths
from liveupdated.carriers import pmem, region, setup
from liveupdated.config import load_config
from liveupdated.ctl.exits import Exit
from liveupdated.ctl.main import cli
from liveupdated.errors import Busy, InvalidArgument, NotFound

WORD = "memmap=1G!4G"
DEVICE = setup.Device("/dev/pmem0", 1 << 30, 4 << 30, "")


@pytest.fixture(autouse=True)
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without pmem devices, and with memory enough."""
    for name, path in {
        "STATE": "state",
        "CONFIG": "liveupdated.toml",
        "CONFIG_DROPINS": "conf.d",
        "CARRIER_WORDS": "conf.d/80-carrier.toml",
        "PMEM_UNIT_FILE": "pmem.mount",
    }.items():
        monkeypatch.setattr(paths, name, tmp_path / path)
    (tmp_path / "iomem").write_text("100000000-1ffffffff : System RAM\n")
    (tmp_path / "block").mkdir()
    monkeypatch.setattr(region, "IOMEM", tmp_path / "iomem")
    monkeypatch.setattr(pmem, "BLOCK_DEVICES", tmp_path / "block")
    monkeypatch.setattr(shutil, "which", lambda name: f"/sbin/{name}")


def test_each_jump_gets_the_word_and_remove_takes_it_back() -> None:
    setup.set_up("1G")
    assert load_config().kernels.cmdline_add == [WORD]
    setup.set_up("1G")  # once more is no harm
    assert setup.words() == (WORD,)
    setup.remove()
    assert not paths.CARRIER_WORDS.exists()
    with pytest.raises(NotFound, match="no pmem carrier"):
        setup.remove()


def test_another_size_is_not_set_up_beside_the_first() -> None:
    setup.set_up("1G")
    with pytest.raises(Busy, match=WORD):
        setup.set_up("2G")
    assert setup.words() == (WORD,)


def test_what_somebody_else_wrote_is_left_alone() -> None:
    setup.set_up("1G")
    with paths.CARRIER_WORDS.open("a") as file:
        file.write("# mine\n")
    for what in (setup.remove, lambda: setup.set_up("1G")):
        with pytest.raises(InvalidArgument, match="somebody changed it"):
            what()
    assert paths.CARRIER_WORDS.exists()


def test_a_device_is_one_that_there_is() -> None:
    with pytest.raises(NotFound, match="no pmem device"):
        setup.set_up("/dev/pmem0")


def test_a_region_is_mounted_again_only_where_both_kernels_left_it_alone() -> None:
    assert not pmem.kept(WORD, WORD)  # nothing is set up
    paths.PMEM_UNIT_FILE.write_text(setup._unit(DEVICE, WORD))
    assert pmem.kept(f"quiet {WORD}", f"{WORD} quiet")
    assert not pmem.kept("quiet", f"quiet {WORD}")
    assert not pmem.kept(f"quiet {WORD}", "quiet")
    paths.PMEM_UNIT_FILE.write_text(setup._unit(DEVICE, ""))
    assert pmem.kept("quiet", "quiet")  # the device is always there


@pytest.mark.parametrize("words", [["set-up"], ["status", "1G"], ["remove", "/dev/pmem0"]])
def test_a_size_goes_with_set_up(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert CliRunner().invoke(cli, ["carrier", *words]).exit_code == Exit.INVALID_ARGUMENT


def test_it_is_roots_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert CliRunner().invoke(cli, ["carrier"]).exit_code == Exit.NOT_AUTHORIZED
