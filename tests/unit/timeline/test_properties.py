# SPDX-License-Identifier: LGPL-2.1-or-later
"""What holds for every session, however its marks came to be."""

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from liveupdated.session import Mark, Session
from liveupdated.timeline import marks
from liveupdated.timeline.clocks import STEP_US
from liveupdated.timeline.ledger import clock_steps, ledger, phases

from .example import NEW, OLD, empty, mark

NAMES = [
    value
    for name, value in vars(marks).items()
    if name.isupper() and isinstance(value, str) and not name.startswith("_")
]
TIMES = st.integers(0, 10**13)
ANY_MARK = st.builds(
    Mark,
    name=st.sampled_from(NAMES),
    realtime_us=TIMES,
    boottime_us=TIMES,
    boot_id=st.sampled_from([OLD, NEW, "third"]),
    workload=st.sampled_from(["", "service:a", "service:b"]),
)


def session_of(found: list[Mark]) -> Session:
    session = empty()
    session.marks = found
    return session


@given(st.lists(ANY_MARK, max_size=40))
def test_no_phase_is_negative_and_the_whole_is_the_sum(found: list[Mark]) -> None:
    session = session_of(found)
    all_phases = phases(session)
    assert all(phase.duration_us >= 0 for phase in all_phases)
    top = [phase for phase in all_phases if phase.top_level]
    for earlier, later in pairwise(top):
        assert earlier.start_us + earlier.duration_us == later.start_us
    if top:
        end = top[-1].start_us + top[-1].duration_us
        assert ledger(session).duration_us == end - top[0].start_us


TWINS = [
    mark(name, 5, boot, 10)
    for name, boot in ((marks.SAVE_END, NEW), (marks.USERSPACE_START, "third"))
]
"""Of two boots that began in the same microsecond."""


@given(st.lists(ANY_MARK, max_size=40))
@example(TWINS)
def test_the_order_of_the_list_does_not_matter_for_one_mark_a_name(found: list[Mark]) -> None:
    unique = list({(m.name, m.workload): m for m in found}.values())
    # Ties of boottime within a boot have no order; a boot's marks never tie in practice.
    unique = list({(m.boot_id, m.boottime_us): m for m in unique}.values())
    forward, backward = session_of(unique), session_of(unique[::-1])
    assert phases(forward)[:1] == phases(backward)[:1]
    assert set(phases(forward)) == set(phases(backward))


@given(
    begins=st.lists(st.integers(1, 10**8), min_size=2, max_size=10),
    offset=st.integers(0, 2 * 10**15),
    step=st.integers(-(10**10), 10**10).filter(lambda step: abs(step) > STEP_US),
    data=st.data(),
)
def test_every_step_between_two_marks_is_found(
    begins: list[int], offset: int, step: int, data: st.DataObject
) -> None:
    times = sorted(set(begins))
    at = data.draw(st.integers(0, len(times) - 1))
    session = session_of(
        [
            mark(f"m{i}", time, OLD, offset + (step if i >= at else 0))
            for i, time in enumerate(times)
        ]
    )
    found = [(s.after, s.before, s.step_us) for s in clock_steps(session)]
    assert found == ([(f"m{at - 1}", f"m{at}", step)] if at else [])


@given(
    spans=st.lists(st.integers(0, 10**7), min_size=len(NAMES), max_size=len(NAMES)),
    steps=st.lists(st.integers(-(10**9), 10**9), min_size=2, max_size=2),
)
def test_steps_before_the_last_mark_of_a_boot_change_nothing(
    spans: list[int], steps: list[int]
) -> None:
    """The phases of an undisturbed session are those of the same one with its clocks set midway."""
    old = [marks.PLAN_START, marks.PLAN_END, marks.SAVE_START, marks.SAVE_END, marks.COMMIT_END]
    new = [marks.USERSPACE_START, marks.RESTORE_START, marks.RESTORE_END, marks.HEALTH_END]
    now, calm, disturbed = 1, [], []
    for boot, names, step in ((OLD, old, steps[0]), (NEW, new, steps[1])):
        begin, boottime = 10**15 + now, 1
        for name in names:
            boottime += spans.pop()
            last = name == names[-1]
            calm.append(mark(name, boottime, boot, begin))
            disturbed.append(mark(name, boottime, boot, begin + (0 if last else step)))
        now += boottime
    assert phases(session_of(disturbed)) == phases(session_of(calm))
