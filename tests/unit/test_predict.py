# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is predicted from sessions of before."""

import pytest

from liveupdated.session import Mark, Outcome, Session, State, Verdict, Workload, new_session
from liveupdated.timeline.marks import CLAIMED, FROZEN, RESUMING, RUNNING, SAVE_END
from liveupdated.update.predict import STOP_COST_US, Cost, costs, jump_us
from liveupdated.update.quickstop import ORDERLY, QUICK


def session(state: State, *moments: tuple[str, str, int]) -> Session:
    """With marks (name, workload, microseconds) and three workloads."""
    made = new_session("update")
    made.state = state
    made.workloads = [
        Workload(f"services:{name}", "services", name, verdict, "because", 7, 1, outcome=outcome)
        for name, verdict, outcome in (
            ("a", Verdict.CARRIED, Outcome.CARRIED),
            ("b", Verdict.CARRIED, Outcome.RESTARTED),
            ("c", Verdict.RESTARTED, Outcome.RESTARTED),
        )
    ]
    made.marks = [Mark(name, us, 0, "boot", workload) for name, workload, us in moments]
    return made


REHEARSED = session(
    State.REHEARSED,
    (FROZEN, "services:a", 0),
    (FROZEN, "services:b", 10_000),
    (SAVE_END, "", 20_000),
    (RESUMING, "services:a", 500_000),
    (RUNNING, "services:a", 530_000),
)
UPDATED = session(
    State.CONFIRMED,
    (FROZEN, "services:a", 0),
    (FROZEN, "services:b", 0),
    (SAVE_END, "", 40_000),
    (CLAIMED, "", 5_000_000),
    (RUNNING, "services:a", 5_060_000),
    (RUNNING, "services:b", 5_060_000),
)


def test_a_rehearsal_tells_what_each_workload_takes() -> None:
    assert costs([REHEARSED], 2) == {"services:a": Cost(50_000, 7)}


def test_an_update_tells_it_of_what_it_carried() -> None:
    assert costs([UPDATED], 2) == {"services:a": Cost(100_000, 7)}


def test_who_came_back_beside_others_had_a_share_of_the_processors() -> None:
    spans = {"a": (100_000, 190_000), "b": (100_000, 190_000), "c": (100_000, 130_000)}
    marks = [
        (name, f"services:{workload}", us)
        for workload, span in spans.items()
        for name, us in zip((RESUMING, RUNNING), span, strict=True)
    ]
    frozen = [(FROZEN, "services:a", 0), (FROZEN, "services:b", 10_000), (SAVE_END, "", 20_000)]
    rehearsed = session(State.REHEARSED, *frozen, *marks)
    # Of one processor a third for 30 ms, then half for 60.
    assert costs([rehearsed], 1) == {
        "services:a": Cost(60_000, 7),
        "services:b": Cost(50_000, 7),
    }
    assert costs([rehearsed], 8)["services:a"] == Cost(110_000, 7)


def test_the_newest_counts() -> None:
    assert costs([REHEARSED, UPDATED], 2) == costs([REHEARSED], 2)
    assert costs([UPDATED, REHEARSED], 2) == costs([UPDATED], 2)


@pytest.mark.parametrize("state", [State.ABANDONED, State.MISSED, State.DEGRADED])
def test_what_went_wrong_predicts_nothing(state: State) -> None:
    assert costs([session(state, (FROZEN, "services:a", 0), (SAVE_END, "", 1))], 2) == {}


def test_the_jump_is_as_long_as_the_newest_one() -> None:
    assert jump_us([REHEARSED, UPDATED], 1, QUICK) == 4_960_000


def test_one_that_stopped_in_the_same_way_predicts_better() -> None:
    quick = session(State.CONFIRMED, (SAVE_END, "", 0), (CLAIMED, "", 3_000_000))
    quick.stop = QUICK
    assert jump_us([UPDATED, quick], 1, QUICK) == 3_000_000
    assert jump_us([quick, UPDATED], 1, ORDERLY) == 4_960_000


def test_the_first_jump_is_as_long_as_this_boot_was() -> None:
    assert jump_us([REHEARSED], 3_000_000, QUICK) == STOP_COST_US + 3_000_000
