# SPDX-License-Identifier: LGPL-2.1-or-later
"""The plan: losses are agreed to, or they block."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveupdated import paths, workloads
from liveupdated.carriers import Carrier
from liveupdated.carriers.choice import SPACE_RESERVE
from liveupdated.criu import KERNEL
from liveupdated.errors import ServiceError
from liveupdated.session import Verdict, Workload
from liveupdated.update import plan as plan_step
from liveupdated.update.plan import (
    MEMORY_RESERVE,
    Found,
    Plan,
    find_workloads,
    make_plan,
    read_found,
)
from liveupdated.update.predict import Cost
from liveupdated.update.request import Request

GIB = 1 << 30


@dataclass(frozen=True)
class Kernel:
    id: str = "7.3"
    release: str = "7.3"
    cmdline: str = "quiet"


def on_disk(free: int) -> Carrier:
    return Carrier("disk", Path("/state"), free, "it is there")


NO_CRIU = "is built without what CRIU needs"


def workload(name: str, verdict: Verdict, size: int = 0, cost_us: int = 0) -> Workload:
    return Workload(f"services:{name}", "services", name, verdict, "because", size, cost_us)


def plan(*workloads: Workload, free: int = GIB, memory: int = GIB, **options: object) -> Plan:
    request = Request(**options)  # type: ignore[arg-type]
    found = Found(workloads, (on_disk(free),), memory)
    return make_plan(found, Kernel(), "6.12", request, jump_us=1_000_000)


def test_a_carried_workload_blocks_nothing_and_is_counted() -> None:
    made = plan(workload("a", Verdict.CARRIED, 5 << 20, 300_000))
    assert made.blockers == ()
    assert (made.bytes, made.blackout_us) == (5 << 20, 1_300_000)


def test_what_was_measured_is_what_is_predicted() -> None:
    found = Found(
        (workload("a", Verdict.CARRIED, 1, 1), workload("b", Verdict.RESTARTED)),
        (on_disk(GIB),),
        GIB,
    )
    known = {"services:a": Cost(50_000, 7 << 20), "services:b": Cost(90_000, 1)}
    made = make_plan(found, Kernel(), "6.12", Request(), jump_us=1_000_000, measured=known)
    assert (made.blackout_us, made.bytes) == (1_050_000, 7 << 20)


def test_what_is_only_estimated_shares_the_processors() -> None:
    names = ("a", "b", "c", "d", "e")
    found = Found(
        tuple(workload(name, Verdict.CARRIED, 1, 600_000) for name in names), (on_disk(GIB),), GIB
    )

    def blackout_us(measured: dict[str, Cost]) -> int:
        return make_plan(
            found, Kernel(), "6.12", Request(), measured=measured, processors=2
        ).blackout_us

    assert blackout_us({}) == 1_500_000
    measured = {f"services:{name}": Cost(900_000, 1) for name in names[:4]}
    assert blackout_us(measured) == 900_000, "that was beside the others"


def test_a_kernel_that_cannot_restore_memory_blocks_where_memory_is_carried() -> None:
    def made(verdict: Verdict, no_criu: str) -> tuple[str, ...]:
        by_criu = dataclasses.replace(workload("a", verdict, 1, 1), needs=[KERNEL])
        found = Found((by_criu, workload("other", Verdict.CARRIED)), (on_disk(GIB),), GIB)
        return make_plan(found, Kernel(), "6.12", Request(), jump_us=1, no_criu=no_criu).blockers

    assert f"7.3 {NO_CRIU}" in made(Verdict.CARRIED, NO_CRIU)[0]
    assert made(Verdict.CARRIED, "") == ()
    assert made(Verdict.RESTARTED, NO_CRIU) == ()


def test_a_loss_nobody_agreed_to_blocks_and_names_the_workload() -> None:
    made = plan(workload("a", Verdict.LOST))
    assert made.blockers == ("services:a: because",)


def test_an_agreed_loss_of_a_blocking_workload_becomes_a_restart() -> None:
    made = plan(workload("a.service", Verdict.BLOCKS), accept_loss=("services:a*",))
    assert made.blockers == ()
    assert made.workloads[0].verdict is Verdict.RESTARTED
    assert "agreed" in made.workloads[0].reason


class Broken:
    RULE = None

    @staticmethod
    def find(host: object) -> list[Workload]:
        raise ServiceError("podman ps failed", "no answer in 10 s")


def test_a_kind_that_cannot_tell_what_runs_has_a_row_that_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "FOUND", tmp_path / "found")
    monkeypatch.setattr(workloads, "names", lambda: ["containers"])
    monkeypatch.setattr(workloads, "kind", lambda name: Broken)
    monkeypatch.setattr(plan_step, "find", lambda: [on_disk(GIB)])
    find_workloads()
    found = read_found()
    assert found.memory_bytes > 128 << 20

    def made(*patterns: str) -> Plan:
        return make_plan(found, Kernel(), "6.12", Request(accept_loss=patterns))

    (blocker,) = made().blockers
    assert blocker.startswith("containers:unknown: ") and "no answer in 10 s" in blocker
    agreed = made("containers:*")
    assert agreed.blockers == () and agreed.workloads[0].verdict is Verdict.LOST


def test_agreeing_to_one_loss_is_not_agreeing_to_another() -> None:
    made = plan(
        workload("a", Verdict.LOST), workload("b", Verdict.LOST), accept_loss=("services:a",)
    )
    assert made.blockers == ("services:b: because",)


def test_too_little_space_is_a_refusal_before_anything_changes() -> None:
    made = plan(workload("a", Verdict.CARRIED, 10), free=SPACE_RESERVE)
    assert "free" in made.blockers[0]


def test_too_little_memory_in_the_new_kernel_is_a_refusal() -> None:
    carried, enough = workload("a", Verdict.CARRIED, 1 << 20), MEMORY_RESERVE + (1 << 20)
    assert plan(carried, memory=enough).blockers == ()
    assert "needs 1 MiB of memory" in plan(carried, memory=enough - 1).blockers[0]
    # The region of the pmem carrier is none of the new kernel's.
    aside = "memmap=128M!4G"
    assert plan(carried, memory=enough + (128 << 20), append=aside).blockers == ()
    assert "0 MiB" in plan(carried, memory=enough, append=aside).blockers[0]


def test_what_has_no_room_in_memory_stays_behind_if_it_may() -> None:
    made = plan(optional("a", 1 << 20), memory=MEMORY_RESERVE)
    assert made.blockers == ()
    assert "no memory for its 1 MiB" in made.workloads[0].reason


def test_a_blackout_over_the_limit_is_refused() -> None:
    made = plan(workload("a", Verdict.CARRIED, cost_us=2_000_000), max_blackout_us=2_500_000)
    assert "over the limit" in made.blockers[0]


def test_a_limit_of_one_workload_is_its_own() -> None:
    def made(limits: dict[str, float]) -> Plan:
        slow = workload("a", Verdict.CARRIED, 1, 9_000_000)
        quick = workload("b", Verdict.CARRIED, 1, 2_000_000)
        found = Found((slow, quick), (on_disk(GIB),), GIB)
        return make_plan(found, Kernel(), "6.12", Request(), limits=limits, jump_us=1_000_000)

    assert made({"b": 3}).blockers == ()
    assert [w.max_blackout_us for w in made({"b": 5, "services:*": 30}).workloads] == [
        30_000_000,
        5_000_000,
    ]
    assert [w.reason for w in made({"b": 2.5}).workloads] == [
        "because",
        "because; it may stand still for 2.5 s",
    ]
    (blocker,) = made({"*": 4}).blockers
    assert blocker.startswith("services:a: its predicted blackout of 10.0 s is over its limit")


def test_what_is_not_carried_has_no_limit() -> None:
    found = Found((optional("a", 1),), (on_disk(GIB),), GIB)
    made = make_plan(
        found, Kernel(), "6.12", Request(), limits={"a": 1}, jump_us=2_000_000, no_criu="cannot"
    )
    assert made.blockers == ()
    assert made.workloads[0].verdict is Verdict.RESTARTED


def test_without_a_kernel_there_is_a_plan_that_says_so() -> None:
    made = make_plan(Found((), (on_disk(GIB),), GIB), None, "6.12", Request())
    assert made.blockers == ("there is no kernel to go to",)


@given(
    st.lists(st.sampled_from(Verdict), max_size=8),
    st.lists(st.sampled_from(["services:0", "services:*", "5", "nothing"]), max_size=3),
)
def test_no_plan_without_blockers_loses_what_nobody_named(
    verdicts: list[Verdict], patterns: list[str]
) -> None:
    made = plan(
        *(workload(str(number), verdict) for number, verdict in enumerate(verdicts)),
        accept_loss=tuple(patterns),
    )
    lost = [w for w in made.workloads if w.verdict in (Verdict.LOST, Verdict.BLOCKS)]
    if not made.blockers and lost:
        assert "services:*" in patterns or {w.name for w in lost} <= {"0", "5"}


def optional(name: str, size: int) -> Workload:
    found = workload(name, Verdict.CARRIED, size)
    return dataclasses.replace(found, optional=True, needs=[KERNEL])


def test_what_is_carried_only_if_possible_never_blocks() -> None:
    found = Found((optional("a", 1), workload("b", Verdict.CARRIED)), (on_disk(GIB),), GIB)
    made = make_plan(found, Kernel(), "6.12", Request(), no_criu=NO_CRIU)
    assert made.blockers == ()
    assert [w.verdict for w in made.workloads] == [Verdict.RESTARTED, Verdict.CARRIED]
    assert f"the new kernel {NO_CRIU}" in made.workloads[0].reason


def test_the_largest_of_it_stays_behind_where_there_is_no_room() -> None:
    small, large = optional("small", 10 << 20), optional("large", 20 << 20)
    made = plan(
        small, large, workload("must", Verdict.CARRIED, 5 << 20), free=SPACE_RESERVE + (15 << 20)
    )
    assert made.blockers == ()
    verdicts = {w.name: w.verdict for w in made.workloads}
    assert verdicts == {
        "small": Verdict.CARRIED,
        "large": Verdict.RESTARTED,
        "must": Verdict.CARRIED,
    }


def test_candidates_are_what_restarts_and_would_be_worth_carrying() -> None:
    worth = dataclasses.replace(workload("a", Verdict.RESTARTED), candidate="2 clients connected")
    made = plan(worth, workload("b", Verdict.RESTARTED))
    assert made.candidates == (("a", "2 clients connected"),)
