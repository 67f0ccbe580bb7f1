# SPDX-License-Identifier: LGPL-2.1-or-later
"""A unit that is waited for."""

import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from liveupdated import paths, systemd, unitrestore
from liveupdated.session import Outcome


def test_a_unit_that_keeps_failing_is_not_started_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    monkeypatch.setattr(systemd, "show_one", lambda *_: {"ActiveState": "failed"})
    monkeypatch.setattr(systemd, "systemctl", lambda *_: "")
    monkeypatch.setattr(systemd, "start", started.append)
    assert not unitrestore.wait_active("broken.service")
    assert started == ["broken.service"] * unitrestore.STARTS


def test_a_unit_is_its_own_again_once_its_start_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd would ignore the end of the launcher, which its own definition does not know."""
    states = iter(["activating", "activating", "active"])
    monkeypatch.setattr(paths, "RESTORING", tmp_path)
    monkeypatch.setattr(unitrestore, "POLL_S", 0)

    def show(names: Sequence[str], properties: Iterable[str]) -> dict[str, systemd.Properties]:
        assert names == ["a.service"]
        assert not (unitrestore.folder("a.service") / unitrestore.SETTLED).exists()
        return {"a.service": {"ActiveState": next(states)}}

    reloads: list[bool] = []
    settled = unitrestore.folder("a.service") / unitrestore.SETTLED
    monkeypatch.setattr(systemd, "show", show)
    monkeypatch.setattr(systemd, "reload", lambda: reloads.append(settled.exists()))
    for name in ("a.service", "b.service"):
        unitrestore.prepare(name)
    (unitrestore.folder("a.service") / "running").touch()
    (unitrestore.folder("b.service") / "failed").touch()
    unitrestore.settle()
    assert reloads == [True]
    assert str(settled) in unitrestore.until_settled("a.service")
    assert not (unitrestore.folder("b.service") / unitrestore.SETTLED).exists()


def test_what_failed_is_its_own_again_once_nothing_of_the_restore_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = iter(["start", "stop-post", "auto-restart"])
    reloads: list[str] = []
    monkeypatch.setattr(paths, "RESTORING", tmp_path)
    monkeypatch.setattr(unitrestore, "POLL_S", 0)
    monkeypatch.setattr(systemd, "show_one", lambda *_: {"SubState": next(states)})
    monkeypatch.setattr(systemd, "reload", lambda: reloads.append(next(states, "")))
    for name in ("came.service", "ended.service", "failed.service"):
        unitrestore.prepare(name)
    for name in ("came.service", "ended.service"):
        (unitrestore.folder(name) / "running").touch()
    for name in ("ended.service", "failed.service"):
        (unitrestore.folder(name) / "failed").touch()
    for _ in range(2):
        unitrestore.give_back_what_ended()
    assert reloads == [""]


def test_dozens_are_waited_for_by_one_that_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "RESTORING", tmp_path)
    monkeypatch.setattr(unitrestore, "RUNNING_LIMIT_S", 30)
    monkeypatch.setattr(unitrestore, "let_go", lambda name: None)
    names = [f"{number}.service" for number in range(30)]
    for name in names:
        unitrestore.prepare(name)
    before = threading.active_count()
    with ThreadPoolExecutor(len(names)) as pool:
        results = [
            pool.submit(unitrestore.watch, name, lambda _: "why", lambda _: True) for name in names
        ]
        while len(unitrestore._waiting) < len(names):
            time.sleep(0.01)
        assert threading.active_count() == before + len(names) + 1
        for number, name in enumerate(names):
            end = "failed" if number % 3 == 0 else "running"
            (unitrestore.folder(name) / end).touch()
        outcomes = [result.result(30)[0] for result in results]
    expected = (Outcome.RESTARTED, Outcome.CARRIED, Outcome.CARRIED)
    assert outcomes == [expected[number % 3] for number in range(30)]
    assert not unitrestore._waiting
