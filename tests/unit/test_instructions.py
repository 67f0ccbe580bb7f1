# SPDX-License-Identifier: LGPL-2.1-or-later
"""What launchers are told: only what was saved, only when it is their turn."""

import threading
from pathlib import Path

import pytest

from liveupdated import instructions, paths
from liveupdated.errors import RestoreFailed


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "CLAIMED", tmp_path / "claimed")
    monkeypatch.setattr(paths, "WAITING", tmp_path / "waiting")


def test_only_what_was_saved_and_claimed_is_taken(tmp_path: Path) -> None:
    digest = instructions.write(tmp_path, {"id": "a"})
    with pytest.raises(RestoreFailed, match="claimed"):
        instructions.read(tmp_path, digest)
    paths.CLAIMED.touch()
    assert instructions.read(tmp_path, digest) == {"id": "a"}
    with pytest.raises(RestoreFailed, match="altered"):
        instructions.read(tmp_path, digest.replace(digest[0], "x"))


def test_a_launcher_waits_for_what_its_workload_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = instructions.write(tmp_path, {"id": "a"})
    paths.CLAIMED.touch()
    paths.WAITING.mkdir()
    gate = instructions.waits(tmp_path)
    gate.touch()
    monkeypatch.setattr(instructions, "TURN_LIMIT_S", 0.05)
    with pytest.raises(RestoreFailed, match="what it needs is not back"):
        instructions.read(tmp_path, digest)
    monkeypatch.setattr(instructions, "TURN_LIMIT_S", 60.0)
    threading.Timer(0.1, gate.unlink).start()
    assert instructions.read(tmp_path, digest) == {"id": "a"}
    assert not gate.exists()


def test_what_was_brought_back_is_not_brought_back_twice(tmp_path: Path) -> None:
    instructions.refuse_twice(tmp_path)
    (tmp_path / "failed").touch()  # of a try before, of which nothing runs
    instructions.refuse_twice(tmp_path)
    (tmp_path / "running").touch()
    with pytest.raises(RestoreFailed, match="brought back in this boot before"):
        instructions.refuse_twice(tmp_path)
