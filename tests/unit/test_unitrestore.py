# SPDX-License-Identifier: LGPL-2.1-or-later
"""A unit that is waited for."""

import pytest

from liveupdated import systemd, unitrestore


def test_a_unit_that_keeps_failing_is_not_started_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    monkeypatch.setattr(systemd, "show_one", lambda *_: {"ActiveState": "failed"})
    monkeypatch.setattr(systemd, "systemctl", lambda *_: "")
    monkeypatch.setattr(systemd, "start", started.append)
    assert not unitrestore.wait_active("broken.service")
    assert started == ["broken.service"] * unitrestore.STARTS
