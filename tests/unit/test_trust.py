# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whose a file is: the file, the folders and the links on the way to it."""

import os
from pathlib import Path

import pytest

from liveupdated.trust import writable_by_others

ME = {0, os.getuid()}


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in folders of ours; what is above them is of no interest here."""
    above = set(tmp_path.parents)
    real = os.fstat

    def trusted_above(fd: int) -> os.stat_result:
        status = real(fd)
        if Path(os.readlink(f"/proc/self/fd/{fd}")) in above:
            return os.stat_result((0o40755, *status[1:4], 0, 0, *status[6:10]))
        return status

    monkeypatch.setattr(os, "fstat", trusted_above)
    path = tmp_path / "bin/tool"
    path.parent.mkdir(mode=0o755)
    path.touch(mode=0o755)
    return path


def test_a_program_of_ones_own_is_trusted(tool: Path) -> None:
    assert writable_by_others(str(tool), ME) == ""


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_one_that_others_can_write_is_named(tool: Path, mode: int) -> None:
    tool.chmod(mode)
    assert writable_by_others(str(tool), ME) == f"{tool} can be written by others"


def test_one_in_a_folder_that_others_can_write_is_named(tool: Path) -> None:
    tool.parent.chmod(0o1777)
    assert writable_by_others(str(tool), ME) == f"{tool.parent} can be written by others"


def test_a_link_is_as_good_as_the_way_it_leads(tool: Path) -> None:
    link = tool.parent.parent / "link"
    link.symlink_to("bin/../bin/tool")
    assert writable_by_others(str(link), ME) == ""
    tool.parent.chmod(0o777)
    assert writable_by_others(str(link), ME) == f"{tool.parent} can be written by others"


def test_somebody_elses_is_named_with_its_owner(tool: Path) -> None:
    nobody_here = {os.getuid() + 1, 0} - {os.getuid()}
    assert "belongs to uid" in writable_by_others(str(tool), nobody_here)


def test_a_circle_of_links_ends(tool: Path) -> None:
    link = tool.parent / "link"
    link.symlink_to("link")
    assert "too many links" in writable_by_others(str(link), ME)


def test_what_is_not_there_is_an_error(tool: Path) -> None:
    with pytest.raises(FileNotFoundError):
        writable_by_others(f"{tool}2", ME)
