# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the command line does before it talks to anybody."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from liveupdated import errors
from liveupdated.contract import Variant
from liveupdated.ctl import options
from liveupdated.ctl.exits import Exit
from liveupdated.ctl.main import cli
from liveupdated.ctl.report import sentence

COMMANDS = sorted(cli.commands)
LOCAL = {"advise", "carrier"}
"""They need no service."""


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


@pytest.fixture
def no_bus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/nothing")


def test_every_method_of_the_manager_has_its_command() -> None:
    contract_methods = """status kernels workloads plan stage unstage update history timeline
        rehearse rollback confirm block unblock carry forget schedule unschedule cancel"""
    assert sorted([*contract_methods.split(), *LOCAL]) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_and_json_is_everywhere(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"  liveupdatectl {command}" in result.output.split("Example")[1]
    assert "--json" in result.output


def test_help_lists_the_exit_codes() -> None:
    text = " ".join(run("--help").output.split())
    assert "0 ok, 1 failed, 2 invalid argument" in text
    assert "27 disconnected" in text


def test_exit_codes_are_those_of_the_error_tree() -> None:
    tree = [cls for cls in errors.all_errors() if cls.__module__ == errors.__name__]
    codes = {cls.exit_code for cls in tree}
    assert {int(code) for code in Exit} == codes | {0}
    assert len(codes) == len(tree)


@pytest.mark.parametrize(
    "words",
    [
        ["update", "--max-blackout", "soon"],
        ["update", "--rung", "ladder"],
        ["update", "--when", "later"],
        ["plan", "--unknown"],
        ["block"],
        ["cancel", "first"],
        ["reboot"],
    ],
)
def test_a_wrong_command_line_exits_with_2(words: list[str], no_bus: None) -> None:
    result = run(*words)
    assert result.exit_code == Exit.INVALID_ARGUMENT
    assert result.stdout == ""
    assert "Error: " in result.stderr


@pytest.mark.parametrize(
    "command",
    [c for c in COMMANDS if c not in LOCAL | {"block", "unblock", "carry", "forget", "schedule"}],
)
def test_without_a_bus_it_says_so(command: str, no_bus: None) -> None:
    result = run(command, "--json")
    assert result.exit_code == Exit.DISCONNECTED
    assert result.stdout == ""
    assert result.stderr.startswith("liveupdatectl: the message bus cannot be reached: ")


def test_an_error_says_what_why_and_the_way_out() -> None:
    error = errors.SaveFailed("redis cannot be saved", "CRIU\nsaid no", "stop it first")
    assert sentence(error) == (
        "liveupdatectl: redis cannot be saved: CRIU\\x0asaid no\n  hint: stop it first"
    )
    assert sentence(errors.NotFound("there is no job")) == "liveupdatectl: there is no job"


def test_options_that_were_not_given_are_not_sent() -> None:
    given = {"kernel": None, "max-blackout": 5, "rung": "", "accept-loss": ["a"], "when": "now"}
    assert options.on_the_wire(given) == {
        "max-blackout": Variant("t", 5),
        "accept-loss": Variant("as", ["a"]),
        "when": Variant("s", "now"),
    }


def test_help_loads_neither_the_bus_nor_rich() -> None:
    """The command is typed by people who wait: what it does not need, it does not import."""
    program = """
import json, sys
from liveupdated.ctl.main import cli
try:
    cli(["update", "--help"])
except SystemExit:
    print(json.dumps(sorted(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    heavy = {"asyncio", "rich", "pydantic", "dbus_next", "dbus_fast", "xml", "liveupdated.bus"}
    assert loaded & heavy == set()
