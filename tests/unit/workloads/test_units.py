# SPDX-License-Identifier: LGPL-2.1-or-later
"""The kind `units`: verdicts, reasons, and what the boot is given."""

import subprocess
from pathlib import Path

import pytest

from liveupdated import systemd
from liveupdated.bootset import boot_set
from liveupdated.carry import UnitRule
from liveupdated.host import Host
from liveupdated.session import Json, Outcome, Verdict, Workload
from liveupdated.workloads import units
from tests.unit.workloads.test_units_bootset import TRIXIE, Units, add, pull, stop


def find(*rules: UnitRule, **changed: dict[str, str]) -> dict[str, Workload]:
    """What is found on the trixie of the fixture with these units added (`a_service=...`)."""
    shown: Units = {name: dict(unit) for name, unit in TRIXIE["units"].items()}
    for name, properties in changed.items():
        add(shown, name.replace("_", "."), **properties)
    return {workload.name: workload for workload in units.find(host(shown, *rules))}


def host(shown: Units, *rules: UnitRule) -> Host:
    looked = Host(rules=list(rules))
    looked.__dict__.update({"units": shown, "boot": boot_set(shown, (), TRIXIE["activated"])})
    return looked


def test_a_fresh_boot_has_only_its_own_services() -> None:
    found = find()
    assert set(found) == {"memcached.service", "redis-server.service", "ssh.service"}
    for workload in found.values():
        assert workload.verdict is Verdict.RESTARTED
        assert workload.facts == {"boot": True}
        assert workload.id == f"units:{workload.name}"
        assert "starts with the boot" in workload.reason


def test_what_is_carried_with_its_memory_is_the_other_kinds() -> None:
    rule = UnitRule(unit="*", carry="memory", source="x.toml")
    assert find(rule, a_service={}) == {}


def test_a_unit_started_by_hand_is_started_again() -> None:
    workload = find(a_service={})["a.service"]
    assert workload.verdict is Verdict.RESTARTED
    assert workload.facts == {"files": {}}
    assert "started by hand" in workload.reason


def test_its_dependencies_are_listed_with_it() -> None:
    found = find(a_service={"Requires": "b.service"}, b_service={})
    assert "comes with" in found["b.service"].reason


def test_a_service_on_demand_waits_for_the_demand() -> None:
    workload = find(polkit_service={})["polkit.service"]
    assert workload.facts == {"waits": True}
    assert "D-Bus" in workload.reason


@pytest.mark.parametrize("state", ["masked", "not-found"])
def test_what_nothing_can_start_again_is_lost(state: str) -> None:
    workload = find(a_service={"LoadState": state, "CanStart": "no"})["a.service"]
    assert workload.verdict is Verdict.LOST
    assert state in workload.reason


def test_a_service_on_somebodys_terminal_is_lost() -> None:
    pty = {"Transient": "yes", "Refs": ":1.5", "TTYPath": "/dev/pts/3"}
    workload = find(a_service=pty)["a.service"]
    assert workload.verdict is Verdict.LOST
    assert "--pty" in workload.reason
    assert find(a_service={**pty, "Refs": ""})["a.service"].verdict is Verdict.RESTARTED


def test_a_service_on_somebodys_pipe_is_lost() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        pipe = {"Transient": "yes", "Refs": ":1.5", "MainPID": str(process.pid)}
        assert find(a_service=pipe)["a.service"].verdict is Verdict.LOST
        assert find(a_service={**pipe, "Refs": ""})["a.service"].verdict is Verdict.RESTARTED


def test_a_transient_timer_brings_its_service_and_its_time() -> None:
    left = "{ OnActiveUSec=1h ; next_elapse=3000000h }"
    found = find(
        a_timer={"Transient": "yes", "Triggers": "a.service", "TimersMonotonic": left},
        a_service={"Transient": "yes", "ActiveState": "inactive", "SubState": "dead"},
    )
    assert set(found) & {"a.timer", "a.service"} == {"a.timer"}
    assert len(found["a.timer"].facts["timer"]["left_us"]) == 1
    assert "time it has left goes on" in found["a.timer"].reason


def test_a_transient_timer_that_has_fired_for_good_leaves_its_service() -> None:
    fired = "{ OnActiveUSec=1s ; next_elapse=1us }"
    found = find(
        a_timer={"Transient": "yes", "Triggers": "a.service", "TimersMonotonic": fired},
        a_service={"Transient": "yes"},
    )
    assert set(found) & {"a.timer", "a.service"} == {"a.service"}


def test_a_timer_of_a_file_starts_anew_and_says_so() -> None:
    left = "{ OnActiveUSec=1h ; next_elapse=3000000h }"
    assert "anew" in find(a_timer={"TimersMonotonic": left})["a.timer"].reason


def stopped() -> Workload:
    shown: Units = {name: dict(unit) for name, unit in TRIXIE["units"].items()}
    stop(shown, "a.service")
    return next(w for w in units.find(host(shown)) if w.name == "a.service")


def test_what_was_stopped_is_kept_from_this_one_boot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "RELEASED", tmp_path / "run/released")
    workload = stopped()
    assert workload.verdict is Verdict.CARRIED
    ((path, text),) = units.boot_files(workload, tmp_path).items()
    assert path == "a.service.d/zzzz-liveupdated-stopped.conf"
    assert "ConditionPathExists=" in text and "# Until: " in text
    units.settle()
    assert (tmp_path / "run/released").exists()


def test_what_is_started_gives_the_boot_nothing(tmp_path: Path) -> None:
    for workload in find(a_service={}).values():
        assert units.boot_files(workload, tmp_path) == {}
        assert units.hold_files(workload) == {}


def test_what_was_held_by_the_boot_before_is_stopped_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "HELD", tmp_path)
    shown: Units = {name: dict(unit) for name, unit in TRIXIE["units"].items()}
    stop(shown, "a.service", ActiveEnterTimestampMonotonic="0")
    pull(shown, "multi-user.target", "Wants", "a.service")
    assert "a.service" not in {w.name for w in units.find(host(shown))}
    (tmp_path / "a.service").touch()
    assert "a.service" in {w.name for w in units.find(host(shown))}


def test_no_systemd_is_a_failed_restore_and_no_exception(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "RUN", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "systemctl").write_text("#!/bin/sh\necho no bus >&2; exit 1\n")
    (tmp_path / "systemctl").chmod(0o755)
    started: dict[str, Json] = {"files": {}}
    for facts in (started, {"boot": True}):
        workload = Workload(
            "units:a.service", "units", "a.service", Verdict.RESTARTED, "", facts=facts
        )
        result = units.restart(workload)
        assert result.outcome is Outcome.FAILED
        assert "no bus" in result.reason
