# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rules: layered like systemd's own files, refused by name when they are wrong."""

import tomllib
from pathlib import Path

import pytest

from liveupdated import paths, rules
from liveupdated.carry import Declared, UnitRule, declared
from liveupdated.errors import InvalidArgument
from liveupdated.host import Host


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, Path]:
    usr, etc, run = (tmp_path / name for name in ("usr", "etc", "run"))
    for folder in (usr, etc, run):
        folder.mkdir()
    monkeypatch.setattr(paths, "RULE_FOLDERS", (usr, etc, run))
    return usr, etc, run


def rule(unit: str, carry: str) -> str:
    return f'[[workload]]\nunit = "{unit}"\ncarry = "{carry}"\n'


def decision(unit: str) -> str | None:
    found = rules.deciding(rules.load_rules([UnitRule]), UnitRule, unit)
    return found.carry if found else None


def test_a_file_in_etc_replaces_the_one_of_the_same_name(folders: tuple[Path, ...]) -> None:
    usr, etc, _ = folders
    (usr / "redis.toml").write_text(rule("redis.service", "memory"))
    assert decision("redis.service") == "memory"
    (etc / "redis.toml").write_text(rule("redis.service", "no"))
    assert decision("redis.service") == "no"


def test_the_last_rule_that_names_a_unit_decides(folders: tuple[Path, ...]) -> None:
    usr, etc, run = folders
    (etc / "10-all.toml").write_text(rule("*.service", "memory"))
    (run / "20-not.toml").write_text(rule("web-*.service", "no"))
    assert (decision("db.service"), decision("web-1.service")) == ("memory", "no")
    assert decision("a.timer") is None
    assert usr.is_dir()


@pytest.mark.parametrize(
    "text",
    [
        "[[workload",
        '[[workload]]\nunit = "a"\ncarry = "yes"',
        "[[workload]]\nx = 1",
        "[rule]",
        "workload = 1",
        '[[workload]]\nunit = ""\ncarry = "no"',
    ],
)
def test_a_wrong_file_is_named(folders: tuple[Path, ...], text: str) -> None:
    (folders[1] / "wrong.toml").write_text(text)
    with pytest.raises(InvalidArgument, match=r"wrong\.toml"):
        rules.load_rules([UnitRule])


def test_a_file_that_others_may_write_is_refused(folders: tuple[Path, ...]) -> None:
    file = folders[1] / "open.toml"
    file.write_text(rule("a.service", "memory"))
    for what, mode in ((file, 0o664), (file, 0o646), (folders[1], 0o777)):
        before = what.stat().st_mode
        what.chmod(mode)
        with pytest.raises(InvalidArgument, match=r"open\.toml.*can be written by others"):
            rules.load_rules([UnitRule])
        what.chmod(before)
    assert decision("a.service") == "memory"


def test_the_ready_rules_never_insist() -> None:
    ready = Path(__file__).parents[2] / "packaging/workloads.d"
    files = sorted(ready.glob("*.toml"))
    assert len(files) >= 3
    for file in files:
        [table] = tomllib.loads(file.read_text())["workload"]
        assert table["carry"] == "if-possible"


def host(tmp_path: Path, text: str, *found: UnitRule, active: str = "active") -> Host:
    fragment = tmp_path / "a.service"
    fragment.write_text(text)
    made = Host(rules=list(found))
    unit = {"Id": "a.service", "ActiveState": active, "FragmentPath": str(fragment)}
    made.__dict__["units"] = {"a.service": unit}
    return made


@pytest.mark.parametrize(
    ("text", "carried"),
    [
        ("[Service]\nX-LiveUpdate=carry\n", True),
        ("[Service]\nX-LiveUpdate = carry\n", True),
        ("[Service]\nX-LiveUpdate=carry\nX-LiveUpdate=\n", False),
        ("[Service]\n#X-LiveUpdate=carry\n", False),
        ("[Service]\nExecStart=/bin/true\n", False),
    ],
)
def test_the_key_in_the_unit_file_declares(tmp_path: Path, text: str, carried: bool) -> None:
    assert ("a.service" in declared(host(tmp_path, text))) is carried


def test_a_rule_decides_over_the_key(tmp_path: Path) -> None:
    no = UnitRule(unit="a.service", carry="no")
    assert declared(host(tmp_path, "X-LiveUpdate=carry", no)) == {}


def test_the_key_asks_for_more_than_a_rule_with_if_possible(tmp_path: Path) -> None:
    ready = UnitRule(unit="a.service", carry="if-possible", source="ready.toml")
    assert declared(host(tmp_path, "", ready)) == {
        "a.service": Declared("ready.toml", optional=True)
    }
    insisted = declared(host(tmp_path, "X-LiveUpdate=carry", ready))["a.service"]
    assert not insisted.optional


def test_what_does_not_run_has_nothing_to_carry(tmp_path: Path) -> None:
    assert declared(host(tmp_path, "X-LiveUpdate=carry", active="inactive")) == {}
