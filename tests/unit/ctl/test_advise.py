# SPDX-License-Identifier: LGPL-2.1-or-later
"""The command: what it prints, and what it leaves alone."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from liveupdated import paths, systemd
from liveupdated.advice import evidence
from liveupdated.ctl.exits import Exit
from liveupdated.ctl.main import cli
from liveupdated.errors import ServiceError
from tests.unit.advice.boots import PARALLEL, SERIAL_CONSOLE, made

LINE = "console=tty0 console=ttyS0,115200 cpuhp.parallel=0"


@pytest.fixture(autouse=True)
def reloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What systemctl was asked for; the boot is one that we made up."""
    asked: list[str] = []

    def systemctl(*words: str) -> str:
        asked.append(" ".join(words))
        return ""

    monkeypatch.setattr(paths, "ADVISED", tmp_path / "conf.d/90-advise.toml")
    monkeypatch.setattr(systemd, "systemctl", systemctl)
    monkeypatch.setattr(evidence, "gather", lambda: made(SERIAL_CONSOLE + PARALLEL, LINE))
    return asked


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, ["advise", *words])


def shape(*words: str) -> dict[str, Any]:
    result = run("--json", *words)
    assert result.exit_code == Exit.OK, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_people_see_the_largest_gain_first_with_its_evidence() -> None:
    text = run().stdout
    first, second = text.index("1.85 s, computed: print less"), text.index("1.50 s, at most: bring")
    assert first < second
    assert "/dev/kmsg: [    0.147433] printk: legacy console [ttyS0] enabled" in text
    assert "/proc/cmdline: cpuhp.parallel=0" in text
    assert "unknown gain: see which initcalls take long" in text
    assert not paths.ADVISED.exists()


def test_json_says_the_same() -> None:
    found = shape()
    assert [each["id"] for each in found["advice"]] == [
        "console-quiet",
        "processors-parallel",
        "initcalls",
    ]
    assert [each["basis"] for each in found["advice"]] == ["computed", "at most", "unknown"]
    assert found["release"] == "6.12.0"
    assert not found["changed"]
    assert found["file"] == str(paths.ADVISED)


def test_a_dry_run_shows_and_changes_nothing(reloads: list[str]) -> None:
    result = run("--apply", "--dry-run")
    assert result.exit_code == Exit.OK
    assert "quiet: would be added at each jump" in result.stdout
    assert not paths.ADVISED.parent.exists()
    assert reloads == []


def test_apply_and_undo(reloads: list[str]) -> None:
    applied = shape("--apply")
    assert applied["changed"]
    assert (applied["cmdline_add"], applied["cmdline_remove"]) == (["quiet"], [])
    assert [each["applied"] for each in applied["advice"]] == [True, False, False]
    assert "Applied:" in run().stdout
    assert not shape("--apply")["changed"]
    would = run("--undo", "--dry-run")
    assert "quiet: would be no longer added" in would.stdout
    assert paths.ADVISED.exists()
    undone = run("--undo")
    assert "quiet: no longer added" in undone.stdout
    assert not paths.ADVISED.exists()
    assert reloads == ["try-reload-or-restart liveupdated.service"] * 2
    assert run("--undo").exit_code == Exit.NOT_FOUND


def test_a_word_that_the_machine_may_need_is_taken_away_by_name_only() -> None:
    result = run("--apply", "--dry-run")
    assert "cpuhp.parallel: " not in result.stdout
    assert "processors-parallel: left out, for you to decide" in result.stdout
    named = run("--apply", "--only", "processors-parallel")
    assert "cpuhp.parallel: removed at each jump" in named.stdout
    assert "quiet" not in named.stdout
    both = shape("--apply")
    assert (both["cmdline_add"], both["cmdline_remove"]) == (["quiet"], ["cpuhp.parallel"])


def test_only_what_there_is_and_can_be_applied() -> None:
    assert run("--apply", "--only", "nonsense").exit_code == Exit.NOT_FOUND
    assert run("--apply", "--only", "initcalls").exit_code == Exit.INVALID_ARGUMENT
    assert not paths.ADVISED.exists()


def test_a_service_that_cannot_be_reloaded_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def systemctl(*_: str) -> str:
        raise ServiceError("systemctl failed")

    monkeypatch.setattr(systemd, "systemctl", systemctl)
    result = run("--apply")
    assert result.exit_code == Exit.OK
    assert "was not reloaded" in result.stderr
    assert paths.ADVISED.exists()


@pytest.mark.parametrize(
    "words", [["--apply", "--undo"], ["--dry-run"], ["--only", "console-quiet"]]
)
def test_options_that_do_not_go_together(words: list[str]) -> None:
    assert run(*words).exit_code == Exit.INVALID_ARGUMENT


def test_what_could_not_be_read_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = made(build=None)
    nothing.unread.append("kernel log: /dev/kmsg: Operation not permitted")
    monkeypatch.setattr(evidence, "gather", lambda: nothing)
    text = run().stdout
    assert "nothing to advise" in text
    assert "Not read:  kernel log: /dev/kmsg: Operation not permitted" in text
