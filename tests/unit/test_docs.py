# SPDX-License-Identifier: LGPL-2.1-or-later
"""What README and manual pages say is there is there, and what is there is in them."""

import dataclasses
import json
import re
from pathlib import Path
from typing import is_typeddict

import click
import pytest

from liveupdated import contract, errors, interfaces, paths, workloads
from liveupdated.config import Config
from liveupdated.ctl import shapes
from liveupdated.ctl.main import cli
from liveupdated.session import State, Verdict

REPO = Path(__file__).parents[2]
MAN = REPO / "docs/man"
PROSE = [REPO / "README.md", *sorted((REPO / "docs").rglob("*.md"))]
TABLES = {table.name: getattr(Config(), table.name) for table in dataclasses.fields(Config)}


def page(name: str) -> str:
    """A manual page's text: fonts, quotes and escapes of roff are gone, requests are not."""
    text = (MAN / name).read_text()
    text = re.sub(r"\\f.|\\&|\\\|", "", text).replace("\\-", "-")
    text = re.sub(r"^\..*", lambda request: request[0].replace('"', ""), text, flags=re.MULTILINE)
    return re.sub(r"^\.(B|I|BR|BI|IR|RB|SM)\b ?", ".B ", text, flags=re.MULTILINE)


def section(text: str, heading: str) -> str:
    """What stands below `.SH heading` or `.SS heading`, up to the next of its kind or above."""
    level = "SH" if f".SH {heading}\n" in text else "SS"
    _, found, rest = text.partition(f".{level} {heading}\n")
    assert found, f"there is no section {heading}"
    return re.split(r"^\.SH " if level == "SH" else r"^\.S[HS] ", rest, flags=re.MULTILINE)[0]


def entries(text: str) -> dict[str, str]:
    """Each `.TP` of a section: the first word of its head to its text."""
    heads = re.split(r"^\.TP\n", text, flags=re.MULTILINE)[1:]
    return {head.split("\n")[0].removeprefix(".B ").split(" ")[0]: head for head in heads}


def test_every_command_has_its_entry() -> None:
    assert set(entries(section(page("liveupdatectl.1"), "COMMANDS"))) == set(cli.commands)


def test_every_option_has_its_entry() -> None:
    options = {
        flag
        for command in (cli, *cli.commands.values())
        for parameter in command.get_params(click.Context(command))
        if isinstance(parameter, click.Option)
        for flag in parameter.opts
        if flag.startswith("--")
    }
    heads = re.findall(r"^\.TP\n(.*)", section(page("liveupdatectl.1"), "OPTIONS"), re.MULTILINE)
    described = {word for head in heads for word in re.findall(r"--[a-z-]+", head)}
    # Those that every command has come from outside the list of parameters.
    assert described - {"--help"} == options - {"--help"}


def test_every_exit_code_has_its_line_and_none_is_made_up() -> None:
    lines = section(page("liveupdatectl.1"), "EXIT STATUS").splitlines()
    codes = {int(line.split()[0]) for line in lines if re.match(r" ?\d+  ", line)}
    assert codes == {0} | {error.exit_code for error in errors.all_errors()}


def test_every_field_of_the_json_is_named() -> None:
    words = set(re.findall(r"\w+", section(page("liveupdatectl.1"), "JSON")))
    fields = {
        field
        for shape in vars(shapes).values()
        if is_typeddict(shape)
        for field in shape.__annotations__
    }
    assert len(fields) > 50
    assert not fields - words


@pytest.mark.parametrize("table", TABLES)
def test_every_setting_has_its_entry_with_its_default(table: str) -> None:
    described = entries(section(page("liveupdated.toml.5"), f"[{table}]"))
    defaults = dataclasses.asdict(TABLES[table])
    assert set(described) == set(defaults)
    for name, default in defaults.items():
        if default:
            assert f"Default: {json.dumps(default)}." in described[name]


def test_there_is_a_section_for_every_table_of_the_settings() -> None:
    assert re.findall(r"^\.SS \[(\w+)\]", page("liveupdated.toml.5"), re.MULTILINE) == list(TABLES)


def test_every_key_of_a_rule_has_its_entry() -> None:
    described = set(entries(section(page("liveupdated.toml.5"), "workloads.d")))
    assert described - {"[[workload]]"} == {
        field.name
        for name in workloads.names()
        if (rule := workloads.kind(name).RULE)
        for field in dataclasses.fields(rule)
        if field.name != "source"
    }


def test_the_folders_of_settings_are_those_that_are_read() -> None:
    synopsis = section(page("liveupdated.toml.5"), "SYNOPSIS")
    read = [paths.CONFIG, *(folder / "*.toml" for folder in paths.RULE_FOLDERS)]
    read.append(paths.CONFIG_DROPINS / "*.toml")
    assert set(re.findall(r"/[\w/.*-]+\.toml", synopsis)) == set(map(str, read))


def test_every_unit_has_its_entry_and_none_is_made_up() -> None:
    shipped = {file.name for file in (REPO / "systemd/system").iterdir()}
    named = re.findall(
        r"liveupdated[a-z-]*\.(?:service|slice|timer)", section(page("liveupdated.8"), "UNITS")
    )
    assert set(named) == shipped


def test_every_state_of_a_session_is_explained() -> None:
    text = section(page("liveupdated.8"), "SESSIONS")
    ends = {str(state) for state in State if not state.open}
    assert set(entries(text)) == ends
    assert all(re.search(rf"\b{state}\b", text) for state in State)


def test_every_verdict_is_explained() -> None:
    described = set(entries(section(page("liveupdatectl.1"), "VERDICTS")))
    assert described == {str(verdict) for verdict in Verdict}


@pytest.mark.parametrize("file", PROSE, ids=lambda file: file.name)
def test_prose_names_only_what_there_is(file: Path) -> None:
    text = file.read_text()
    manager = interfaces.interface(contract.MANAGER)
    members = {*manager.methods, *manager.properties}
    used = re.findall(r"^ +manager (\w+)|org\.liveupdate1\.Manager (\w+)", text, re.MULTILINE)
    assert {method or name for method, name in used} <= members
    assert set(re.findall(r"liveupdatectl ([a-z]+)\b(?! the)", text)) <= set(cli.commands)
    assert set(re.findall(r"liveupdatectl [a-z]+ .*?(--[a-z-]+)", text)) <= _all_flags()
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (file.parent / link).exists(), link
    for unit in re.findall(r"\bliveupdated-[a-z-]+\.(?:service|timer)", text):
        assert [*(REPO / "systemd").glob(f"*/{unit}")], unit


def _all_flags() -> set[str]:
    return {
        flag
        for command in cli.commands.values()
        for parameter in command.params
        for flag in parameter.opts
    }


def test_the_tour_goes_through_the_methods_of_an_update() -> None:
    text = (REPO / "README.md").read_text()
    assert set(re.findall(r"^ +manager (\w+)", text, re.MULTILINE)) == {
        "Stage",
        "Plan",
        "Unstage",
        "Update",
    }


def test_the_readme_lists_what_a_kind_of_workload_offers() -> None:
    text = (REPO / "README.md").read_text()
    _, _, chapter = text.partition("## To add a kind of workload")
    from liveupdated.workloads import Kind, kind, names  # noqa: PLC0415

    offered = {name for name in vars(Kind) if name.islower() and not name.startswith("_")}
    assert offered <= set(re.findall(r"`(\w+)`", chapter))
    assert all(callable(getattr(kind(name), member)) for name in names() for member in offered)
