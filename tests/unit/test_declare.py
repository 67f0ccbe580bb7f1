# SPDX-License-Identifier: LGPL-2.1-or-later
"""Carry and Forget, for every kind that can be declared."""

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveupdated.errors import InvalidArgument, NotFound
from liveupdated.session import Verdict, Workload
from liveupdated.update import declare


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(declare, "KEPT", tmp_path)
    return tmp_path


def workload(kind: str, name: str) -> Workload:
    return Workload(f"{kind}:{name}", kind, name, Verdict.RESTARTED, "")


def test_the_rule_is_about_what_its_kind_is_about(kept: Path) -> None:
    assert 'container = "web"' in declare.keep(workload("containers", "web")).read_text()
    assert 'machine = "web"' in declare.keep(workload("machines", "web")).read_text()
    assert 'unit = "web"' in declare.keep(workload("units", "web")).read_text()
    assert len(list(kept.iterdir())) == 3


@given(st.text(min_size=1).filter(lambda text: not re.search("[*?[]", text)))
def test_any_name_is_what_the_rule_says_then(name: str) -> None:
    text = declare.rule_text(workload("containers", name))
    assert tomllib.loads(text)["workload"][0]["container"] == name


def test_what_is_no_utf8_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="UTF-8"):
        declare.rule_text(workload("containers", "caf\udce9"))


def test_a_hook_is_declared_by_its_own_file() -> None:
    with pytest.raises(InvalidArgument, match="kind hooks"):
        declare.keep(workload("hooks", "ledger"))


def test_a_name_in_two_kinds_is_asked_about_by_id() -> None:
    both = [workload("containers", "web"), workload("machines", "web")]
    with pytest.raises(InvalidArgument, match="containers:web, machines:web"):
        declare.find(both, "web")
    assert declare.find(both, "machines:web") is both[1]
    for each in both:
        declare.keep(each)
    with pytest.raises(InvalidArgument, match="containers:web, machines:web"):
        declare.forget("web")
    declare.forget("machines:web")
    declare.forget("web")
    with pytest.raises(NotFound):
        declare.forget("web")


def test_a_service_is_forgotten_by_either_of_its_ids() -> None:
    for name in ("a.service", "units:a.service", "services:a.service"):
        declare.keep(workload("services", "a.service"))
        declare.forget(name)
