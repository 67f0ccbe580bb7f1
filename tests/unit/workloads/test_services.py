# SPDX-License-Identifier: LGPL-2.1-or-later
"""Services that are carried only if possible: what stands in the way restarts them, with a word."""

import os
from pathlib import Path
from typing import Any

import pytest

from liveupdated import checkpoint, criu, needs, systemd, unitfiles
from liveupdated.carry import UnitRule
from liveupdated.errors import SaveFailed
from liveupdated.host import Host
from liveupdated.session import Verdict, Workload
from liveupdated.workloads import services


def found(monkeypatch: pytest.MonkeyPatch, carry: Any, obstacle: str) -> tuple[Host, list[str]]:
    host = Host(rules=[UnitRule(unit="a.service", carry=carry, source="ready.toml")])
    unit = {
        "Id": "a.service",
        "ActiveState": "active",
        "MainPID": str(os.getpid()),
        "ControlGroup": "/a",
    }
    host.__dict__["units"] = {"a.service": unit}
    monkeypatch.setattr(unitfiles, "needs_start", lambda host, name: False)
    monkeypatch.setattr(needs, "of_processes", lambda pids: [])
    monkeypatch.setattr(needs, "of_unit", lambda name: [])
    monkeypatch.setattr(services, "_processes", lambda name, path, main: (main, [main]))
    monkeypatch.setattr(criu, "obstacles", lambda main, pids: [obstacle] if obstacle else [])
    monkeypatch.setattr(checkpoint, "tcp_sentence", lambda pids: "none is open")
    monkeypatch.setattr(checkpoint, "memory_bytes", lambda pids: 1)
    return host, [workload.verdict for workload in services.find(host)]


def test_an_obstacle_blocks_or_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    host, verdicts = found(monkeypatch, "if-possible", "it has a wall (way out: a door)")
    assert verdicts == [] and "way out: a door" in host.not_carried["a.service"]
    host, verdicts = found(monkeypatch, "memory", "it has a wall (way out: a door)")
    assert verdicts == [Verdict.BLOCKS] and not host.not_carried
    assert found(monkeypatch, "if-possible", "")[1] == [Verdict.CARRIED]


@pytest.mark.parametrize("optional", [True, False])
def test_an_obstacle_that_shows_at_the_save(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, optional: bool
) -> None:
    def refuse(*_: object) -> None:
        raise SaveFailed("a.service could not be checkpointed", "a wall")

    removed: list[str] = []
    monkeypatch.setattr(services, "_take", refuse)
    monkeypatch.setattr(systemd, "remove_files", removed.extend)
    monkeypatch.setattr(systemd, "reload", lambda: None)
    workload = Workload("services:a.service", "services", "a.service", Verdict.CARRIED, "")
    workload.optional = optional
    if not optional:
        with pytest.raises(SaveFailed):
            services.save(workload, tmp_path, lambda mark: None)
        return
    services.save(workload, tmp_path, lambda mark: None)
    assert workload.verdict is Verdict.RESTARTED and "a wall" in workload.reason
    assert removed == ["systemd/system/a.service.d/zzzz-liveupdated-hold.conf"]


def test_a_pid_that_is_taken_is_named_with_its_holder(tmp_path: Path) -> None:
    log = tmp_path / "restore.log"
    log.write_text("(00.1) Error (criu/cr-restore.c:1265): Can't fork for 1: File exists\n")
    init = Path("/proc/1/comm").read_text().strip()
    assert criu.restore_error(log) == f"its pid 1 was taken by {init}"
    log.write_text("(00.1) Error (criu/x.c:1): Something else\n")
    assert criu.restore_error(log) == "Something else"
