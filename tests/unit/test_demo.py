# SPDX-License-Identifier: LGPL-2.1-or-later
"""The demo notices when something is not so: each loss fails the check that is about it."""

import dataclasses
from typing import Any

import pytest

from tests.lab.demo import checks
from tests.lab.demo.sight import COUNTER, REDIS, STOPPED, TRANSIENT, Count, Sight, parse

OLD, NEW = "6.12.117+deb13-cloud-amd64", "7.3.4+deb13-cloud-amd64"
COUNTS = tuple(
    Count(number, OLD if number <= 5 else NEW, 100.0 + number + (30 if number > 5 else 0))
    for number in range(1, 10)
)
BEFORE = Sight(
    release=OLD,
    booted_s=60.0,
    redis_pid="801",
    redis_run="5f2a",
    redis_uptime_s=20,
    redis_keys=1000,
    redis_values="77aa",
    redis_files="",
    counts=COUNTS[:3],
    counter_pid="810",
    terminated=False,
    transient="active /usr/bin/sleep infinity",
    transient_limit="67108864",
    stopped="inactive enabled",
)
AFTER = dataclasses.replace(
    BEFORE, release=NEW, booted_s=25.0, redis_uptime_s=70, counts=COUNTS, transient=BEFORE.transient
)
SESSION: dict[str, Any] = {
    "state": "confirmed",
    "reason": "",
    "notes": [],
    "workloads": [
        {"name": name, "verdict": verdict, "outcome": outcome, "outcome_reason": ""}
        for name, (verdict, outcome) in checks.EXPECTED.items()
    ],
}
TIMELINE: dict[str, Any] = {
    "blackout_us": 30_000_000,
    "phases": [
        {"name": name}
        for name in ("plan", "save", "save/dump", "stop", "kexec+kernel", "userspace", "restore")
    ],
}
PLAN: dict[str, Any] = {
    "release": NEW,
    "rung": "live-update",
    "blockers": [],
    "workloads": [
        {"name": name, "verdict": verdict} for name, (verdict, _) in checks.EXPECTED.items()
    ],
}


def failed(found: list[checks.Check]) -> str:
    return "; ".join(check.sentence for check in found if not check.true)


def after_the_jump(
    after: Sight = AFTER, session: dict[str, Any] = SESSION, timeline: dict[str, Any] = TIMELINE
) -> str:
    return failed(checks.of_the_end(BEFORE, after, session, timeline, "7.3"))


def test_when_all_is_well_nothing_fails() -> None:
    assert failed(checks.of_the_plan(PLAN, "7.3")) == ""
    assert failed(checks.of_the_start(BEFORE)) == ""
    assert after_the_jump() == ""


def without(number: int) -> tuple[Count, ...]:
    return tuple(count for count in COUNTS if count.number != number)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"release": OLD, "counts": COUNTS}, "another kernel runs"),
        ({"redis_keys": 999}, "its 1000 keys"),
        ({"redis_values": "78aa"}, "its 1000 keys"),
        ({"redis_files": "/var/lib/redis/dump.rdb"}, "its 1000 keys"),
        ({"redis_pid": "77"}, "the same process: pid"),
        ({"redis_run": "6f2a"}, "the same process: pid"),
        ({"redis_uptime_s": 24}, "uptime is unbroken"),
        ({"counts": without(7)}, "no number twice"),
        ({"counts": (*COUNTS, COUNTS[-1])}, "no number twice"),
        ({"counts": COUNTS[:3]}, "no number twice"),
        ({"counts": COUNTS[:5]}, "both kernels"),
        ({"counter_pid": "77"}, "never got a SIGTERM"),
        ({"terminated": True}, "never got a SIGTERM"),
        ({"transient": "inactive"}, "the transient unit runs"),
        ({"transient_limit": "max"}, "the transient unit runs"),
        ({"stopped": "active enabled"}, "stopped by hand"),
        ({"stopped": "inactive masked"}, "stopped by hand"),
    ],
)
def test_a_loss_is_seen(change: dict[str, Any], sentence: str) -> None:
    assert sentence in after_the_jump(dataclasses.replace(AFTER, **change))


def test_a_machine_that_does_not_answer_fails_every_check_on_it() -> None:
    silent = Sight("", 0.0, "", "", 0, 0, "", "", (), "", True, "", "", "")
    lost = checks.of_the_end(silent, silent, SESSION, TIMELINE, "7.3")
    about_the_session = checks.of_the_end(BEFORE, AFTER, SESSION, TIMELINE, "7.3")[-3:]
    assert [check for check in lost if check.true] == about_the_session


@pytest.mark.parametrize("name", [REDIS, COUNTER, TRANSIENT, STOPPED])
@pytest.mark.parametrize("outcome", ["failed", "lost", ""])
def test_an_outcome_that_was_not_promised_is_seen(name: str, outcome: str) -> None:
    workloads = [
        workload | ({"outcome": outcome} if workload["name"] == name else {})
        for workload in SESSION["workloads"]
    ]
    assert "promised" in after_the_jump(session=SESSION | {"workloads": workloads})


def test_what_else_was_lost_is_seen() -> None:
    other = {"name": "x", "verdict": "restarted", "outcome": "failed", "outcome_reason": "gone"}
    session = SESSION | {"workloads": [*SESSION["workloads"], other]}
    assert "promised" in after_the_jump(session=session)


@pytest.mark.parametrize("state", ["degraded", "missed", "restored"])
def test_a_session_that_is_not_confirmed_is_seen(state: str) -> None:
    assert "confirmed" in after_the_jump(session=SESSION | {"state": state})


@pytest.mark.parametrize("change", [{"blackout_us": 0}, {"phases": TIMELINE["phases"][:3]}])
def test_a_timeline_with_holes_is_seen(change: dict[str, Any]) -> None:
    assert "timeline" in after_the_jump(timeline=TIMELINE | change)


@pytest.mark.parametrize(
    "change",
    [
        {"release": OLD},
        {"rung": "soft-reboot"},
        {"blockers": ["no room"]},
        {"workloads": []},
    ],
)
def test_a_plan_that_leads_elsewhere_is_seen(change: dict[str, Any]) -> None:
    assert failed(checks.of_the_plan(PLAN | change, "7.3"))


def test_a_line_that_is_being_written_is_no_number() -> None:
    assert parse("") == ()
    assert parse(f"1 {OLD} 1.5\n2 {OLD} 1.6\n3 6.1") == (Count(1, OLD, 1.5), Count(2, OLD, 1.6))
