# SPDX-License-Identifier: LGPL-2.1-or-later
"""A unit that is waited for."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from liveupdated import paths, systemd, unitrestore


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

    monkeypatch.setattr(systemd, "show", show)
    for name in ("a.service", "b.service"):
        unitrestore.prepare(name)
    (unitrestore.folder("a.service") / "running").touch()
    (unitrestore.folder("b.service") / "failed").touch()
    unitrestore.settle()
    settled = unitrestore.folder("a.service") / unitrestore.SETTLED
    assert settled.exists()
    assert str(settled) in unitrestore.until_settled("a.service")
    assert not (unitrestore.folder("b.service") / unitrestore.SETTLED).exists()
