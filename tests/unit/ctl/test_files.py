# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where pictures and reports go."""

import os
from pathlib import Path

import click
import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner

from liveupdated.ctl import files
from liveupdated.ctl.client import Client
from liveupdated.ctl.exits import Exit
from liveupdated.ctl.main import cli
from liveupdated.errors import LiveUpdateError

from . import real
from .drawing import Picture


@pytest.fixture(autouse=True)
def no_bus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/nothing")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that knows one session."""
    shapes = real.record(real.ten_workloads())

    async def record(_: Client, wanted: str) -> object:
        assert wanted == "last"
        return shapes

    async def sessions(_: Client) -> object:
        return [shapes[0]]

    async def no_connection(cls: object) -> "_NoBus":
        return _NoBus()

    monkeypatch.setattr(Client, "record", record)
    monkeypatch.setattr(Client, "sessions", sessions)
    monkeypatch.setattr("liveupdated.ctl.client.Bus.connect", classmethod(no_connection))


class _NoBus:
    async def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("timeline --plot picture.png", "'picture.png' does not end in .svg"),
        ("timeline --html report", "'report' does not end in .html or .htm"),
        ("timeline --plot no/where.svg", "'no' is no folder"),
        ("timeline --plot folder.svg", "'folder.svg' is there and no regular file"),
        ("timeline --plot link.svg", "'link.svg' is there and no regular file"),
        ("timeline --plot pipe.svg", "'pipe.svg' is there and no regular file"),
        ("timeline --plot a.svg --json", "--json is an answer of its own"),
        ("timeline --html a.html --json", "--json is an answer of its own"),
        ("timeline --plot - --html -", "only one of --plot and --html"),
        ("history --plot picture.png", "'picture.png' does not end in .svg"),
        ("history --plot a.svg --json", "--json is an answer of its own"),
        ("history last --plot a.svg", "history --plot is about all sessions"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anybody_is_asked(words: str, why: str) -> None:
    os.mkdir("folder.svg")
    os.symlink("elsewhere", "link.svg")
    os.mkfifo("pipe.svg")
    result = CliRunner().invoke(cli, words.split())
    assert result.exit_code == Exit.INVALID_ARGUMENT
    assert result.stdout == ""
    assert why in result.stderr
    assert not Path("a.svg").exists()


@pytest.mark.parametrize("words", ["timeline --plot a.svg --html b.html", "history --plot a.svg"])
def test_nothing_is_written_where_nobody_answers(words: str) -> None:
    Path("a.svg").write_text("as it was")
    assert CliRunner().invoke(cli, words.split()).exit_code == Exit.DISCONNECTED
    assert Path("a.svg").read_text() == "as it was"
    assert os.listdir() == ["a.svg"]


@pytest.mark.usefixtures("answering")
def test_a_regular_file_is_replaced() -> None:
    Path("a.svg").write_text("as it was")
    result = CliRunner().invoke(cli, "timeline --plot a.svg --html b.html".split())
    assert (result.exit_code, result.output) == (0, "")
    assert len(Picture(Path("a.svg").read_text()).rows("workload")) == 6
    assert Path("b.html").read_text().startswith("<!DOCTYPE html>")
    assert sorted(os.listdir()) == ["a.svg", "b.html"]
    assert CliRunner().invoke(cli, ["history", "--plot", "a.svg"]).exit_code == 0
    assert len(Picture(Path("a.svg").read_text()).rows("session")) == 1


@pytest.mark.usefixtures("answering")
@pytest.mark.parametrize("words", ["timeline --plot -", "history --plot -"])
def test_to_standard_output_as_utf8_whatever_the_locale(words: str) -> None:
    result = CliRunner(charset="ascii").invoke(cli, words.split())
    assert result.exit_code == 0
    assert "→" in "".join(Picture(result.stdout_bytes.decode()).texts)


def test_the_file_has_the_mode_that_its_user_wants() -> None:
    mask = os.umask(0o027)
    try:
        files.write("a.svg", "é")
    finally:
        os.umask(mask)
    assert Path("a.svg").stat().st_mode & 0o777 == 0o640
    assert Path("a.svg").read_bytes() == "é".encode()


def test_what_goes_wrong_while_writing_is_said_and_leaves_nothing() -> None:
    os.mkdir("taken.svg")
    with pytest.raises(LiveUpdateError, match=r"taken\.svg cannot be written: Is a directory"):
        files.write("taken.svg", "text")
    assert os.listdir() == ["taken.svg"]


@pytest.mark.parametrize(
    "words", ["timeline --plot ", "timeline --html ", "history --plot "], ids=str.strip
)
def test_the_shell_completes_file_names(words: str) -> None:
    shell = BashComplete(cli, {}, "liveupdatectl", "_LIVEUPDATECTL_COMPLETE")
    found = shell.get_completions(words.split(), "")
    assert [item.type for item in found] == ["file"]


def test_the_endings_may_be_in_capitals() -> None:
    wanted = files.OutputFile(".svg")
    assert wanted.convert("A.SVG", None, None) == "A.SVG"
    with pytest.raises(click.BadParameter):
        wanted.convert(".svg", None, None)
