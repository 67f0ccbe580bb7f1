# SPDX-License-Identifier: LGPL-2.1-or-later
"""The picture of a session: what stands in it is where the session's marks say."""

import dataclasses
import time
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liveupdated.ctl.plot import chart, svg, update
from liveupdated.ctl.plot.critical import critical_path
from liveupdated.session import Mark, Outcome, Session, State, Verdict, Workload
from liveupdated.timeline import marks
from liveupdated.timeline.clocks import scale
from liveupdated.timeline.ledger import phases

from ..timeline import example
from . import real
from .drawing import Picture, outside

REDIS = "services:redis-server.service"
HOSTILE = "\x1b[2J</title><script>alert(1)</script>&amp;\"'\n\u202e\ud800]]>\x00"


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def picture(session: Session) -> Picture:
    return Picture(svg.document(update.draw(*real.record(session))))


def seconds(session: Session, name: str, workload: str = "") -> float:
    """When that mark was taken, from the begin of the picture on."""
    common = scale(session)
    begin = min(phase.start_us for phase in phases(session))
    found = [m for m in session.marks if (m.name, m.workload) == (name, workload)]
    return (common.time(found[-1]) - begin) / 1e6


@pytest.mark.parametrize("session", [real.ten_workloads, real.every_kind, example.example])
def test_each_workload_is_drawn_from_its_freeze_to_its_thaw(session: Callable[[], Session]) -> None:
    known = session()
    drawn = picture(known)
    frozen = {mark.workload for mark in known.marks if mark.name == marks.FROZEN}
    assert frozen
    for workload in frozen:
        [whole] = [bar for bar in drawn.bars(workload) if "away" in bar.style]
        save = next(bar for bar in drawn.bars(workload) if "away" not in bar.style)
        wanted = [
            (whole.begin, seconds(known, marks.FROZEN, workload)),
            (whole.end, seconds(known, marks.RUNNING, workload)),
            (save.begin, seconds(known, marks.FROZEN, workload)),
            (save.end, max(seconds(known, marks.SAVED, workload), save.begin + drawn.pixel)),
        ]
        for at, mark in wanted:
            assert at == pytest.approx(mark, abs=drawn.pixel)
    begins = [drawn.bars(name)[0].begin for name in drawn.rows("workload") if drawn.bars(name)]
    assert begins == sorted(begins)


def test_what_a_workload_waits_for_itself_is_drawn_where_it_happens() -> None:
    session = real.every_kind()
    drawn = picture(session)
    workload = "machines:shared.service"
    _, save, restore, resume = [bar for bar in drawn.bars(workload) if "carried" in bar.style]
    assert restore.begin == pytest.approx(
        seconds(session, marks.RETURNING, workload), abs=drawn.pixel
    )
    assert resume.begin == pytest.approx(
        seconds(session, marks.RETURNED, workload), abs=drawn.pixel
    )
    assert save.end < restore.begin


def test_each_kernel_is_drawn_while_it_ran() -> None:
    session = real.ten_workloads()
    drawn = picture(session)
    assert drawn.rows("kernel") == ["6.12.117+deb13-cloud-amd64", "7.3.4+deb13-cloud-amd64"]
    [old] = drawn.bars("6.12.117+deb13-cloud-amd64")
    [new] = drawn.bars("7.3.4+deb13-cloud-amd64")
    assert old.end == pytest.approx(seconds(session, marks.STOPPED), abs=drawn.pixel)
    assert new.begin == pytest.approx(seconds(session, marks.KERNEL_START), abs=drawn.pixel)
    assert new.end == pytest.approx(seconds(session, marks.HEALTH_END), abs=drawn.pixel)


def test_phases_are_drawn_one_after_the_other_with_their_parts_below() -> None:
    drawn = picture(real.ten_workloads())
    names = drawn.rows("phase")
    top = [name for name in names if "/" not in name]
    assert top == "plan stage save stop kexec kernel userspace restore health".split()
    assert names[names.index("stop") :][:4] == "stop stop/request stop/commit stop/services".split()
    spans = [drawn.bars(name)[0] for name in top]
    for earlier, later in pairwise(spans):
        assert earlier.end == pytest.approx(later.begin, abs=2 * drawn.pixel)
    assert drawn.note("kexec") == "3.73 s"
    assert [bar.style for bar in spans] == ["before"] * 4 + ["jump"] + ["after"] * 4


def test_a_phase_whose_mark_is_missing_leaves_it_open_when_a_kernel_ended() -> None:
    session = real.ten_workloads()
    session.marks = [mark for mark in session.marks if mark.name != marks.STOPPED]
    drawn = picture(session)
    [merged] = [bar for bar in drawn.bars("stop+kexec") if bar.style != "critical"]
    assert merged.style == "jump"
    [old] = drawn.bars("6.12.117+deb13-cloud-amd64")
    assert old.end == pytest.approx(merged.begin, abs=drawn.pixel)


def test_the_critical_path_is_what_the_longest_blackout_consists_of() -> None:
    session = real.ten_workloads()
    drawn = picture(session)
    freeze, thaw = seconds(session, marks.FROZEN, REDIS), seconds(session, marks.RUNNING, REDIS)
    marked = {
        name: bar
        for name in [*drawn.rows("phase"), *drawn.rows("workload")]
        for bar in drawn.bars(name)
        if bar.style == "critical"
    }
    assert list(marked) == [*"save stop kexec kernel userspace restore".split(), REDIS]
    assert marked["save"].begin == pytest.approx(freeze, abs=drawn.pixel)
    assert marked["restore"].end == pytest.approx(thaw, abs=drawn.pixel)
    assert marked[REDIS].end == pytest.approx(thaw, abs=drawn.pixel)
    lengths = [bar.end - bar.begin for name, bar in marked.items() if name != REDIS]
    assert sum(lengths) == pytest.approx(thaw - freeze, abs=0.01)


def test_the_save_that_all_waited_for_is_a_link_of_it() -> None:
    _, timeline = real.record(real.every_kind())
    links = critical_path(timeline["phases"])
    assert [(link["name"], link["workload"]) for link in links[-2:]] == [
        ("blackout/save", "containers:pod-infra"),
        ("blackout", "domains:passing"),
    ]
    assert critical_path([]) == []


def test_prediction_stands_beside_what_was_measured() -> None:
    session = real.ten_workloads()
    drawn = picture(session)
    assert f"blackout 1 min 38 s, 24.3 s predicted, of {REDIS}; the whole 2 min 37 s" in drawn.texts
    [foretold] = [bar for bar in drawn.bars(REDIS) if bar.style == "foretold"]
    assert foretold.begin == pytest.approx(
        seconds(session, marks.FROZEN, REDIS) + session.predicted_blackout_us / 1e6,
        abs=drawn.pixel,
    )
    session.predicted_blackout_us = 3_600_000_000
    assert "foretold" not in {bar.style for bar in picture(session).bars(REDIS)}


def test_what_failed_is_seen_though_it_was_never_frozen() -> None:
    drawn = picture(real.every_kind())
    assert "workloads: 32 carried, 19 restarted, 1 reopened, 2 lost, 2 failed" in drawn.texts
    assert drawn.note("sessions:alice:t-timer.timer") == "failed, the user manager of alice is None"
    assert drawn.bars("sessions:alice:t-timer.timer") == []
    assert "virsh list did not finish: no answer in 120 s" in drawn.tip("domains:fresh")
    assert "units:nginx.service" not in drawn.rows("workload")


def test_what_did_not_come_back_with_its_memory_says_so() -> None:
    session = real.ten_workloads()
    session.marks = [m for m in session.marks if (m.name, m.workload) != (marks.RUNNING, REDIS)]
    workload = session.workload(REDIS)
    workload.outcome, workload.outcome_reason = Outcome.RESTARTED, "criu: pid 812 was taken"
    drawn = picture(session)
    assert drawn.note(REDIS) == "restarted, criu: pid 812 was taken"
    # Its save, for which all others waited.
    assert [bar.style for bar in drawn.bars(REDIS)] == ["restarted", "critical"]


def test_a_session_that_never_left_has_one_kernel() -> None:
    session = real.ten_workloads()
    session.marks = [m for m in session.marks if m.boot_id == session.origin.boot_id]
    session.arrival, session.state, session.road = None, State.ABANDONED, "rehearse"
    session.reason = "the disk is full"
    for workload in session.workloads:
        workload.outcome = None
    drawn = picture(session)
    assert drawn.rows("kernel") == ["6.12.117+deb13-cloud-amd64"]
    assert drawn.note(REDIS) == "not back"
    assert {"the disk is full", "workloads: to be 6 carried, 4 restarted"} <= set(drawn.texts)
    assert "jump" not in drawn.texts


def test_a_rehearsal_has_nothing_after_a_jump() -> None:
    session = real.ten_workloads()
    session.road, session.state, session.arrival = "rehearse", State.REHEARSED, None
    steps = (marks.PLAN_START, marks.SAVE_START, marks.RESTORE_START, marks.RESTORE_END)
    begin = session.marks[0]
    session.marks = [
        dataclasses.replace(
            begin,
            name=name,
            boottime_us=begin.boottime_us + second * 1_000_000,
            realtime_us=begin.realtime_us + second * 1_000_000,
        )
        for second, name in enumerate(steps)
    ]
    drawn = picture(session)
    assert drawn.rows("phase") == ["plan+stage", "save+turnaround", "restore"]
    assert {bar.style for name in drawn.rows("phase") for bar in drawn.bars(name)} == {"before"}
    assert len(drawn.rows("kernel")) == 1


def test_a_session_without_marks_says_so() -> None:
    drawn = picture(example.empty())
    assert "The session has no marks." in drawn.texts
    assert drawn.misplaced() == []
    assert drawn.height > 50


def test_names_are_shown_and_not_obeyed() -> None:
    session = example.example()
    session.reason = HOSTILE
    session.origin.release = HOSTILE
    session.workloads[0].id = HOSTILE
    session.workloads[0].outcome_reason = HOSTILE
    for mark in session.marks:
        if mark.workload == example.REDIS:
            mark.workload = HOSTILE
    text = svg.document(update.draw(*real.record(session)))
    drawn = Picture(text)
    assert {element.tag.partition("}")[2] for element in drawn.root.iter()} == set(
        "svg title style rect text g line".split()
    )
    [name] = [name for name in drawn.rows("workload") if "script" in name]
    assert name == "\\x1b[2J</title><script>alert(1)</script>&amp;\"'\\x0a\\x202e\\xd800]]>\\x00"
    assert drawn.misplaced() == []


def test_nothing_is_fetched_from_elsewhere() -> None:
    text = svg.document(update.draw(*real.record(real.every_kind())))
    assert outside(text) == []
    assert "prefers-color-scheme:dark" in text


@pytest.mark.parametrize("session", [real.ten_workloads, real.every_kind, example.example])
def test_nothing_lies_upon_anything_else(session: Callable[[], Session]) -> None:
    assert picture(session()).misplaced() == []


def made_up(names: list[str], spans: list[tuple[int, int]], whole: int) -> Session:
    """A session with a workload of each name, frozen for its span."""
    session = example.example()
    end = session.marks[-1]
    session.workloads, kept = [], [mark for mark in session.marks if not mark.workload]
    for name, (start, length) in zip(names, spans, strict=False):
        work = Workload(
            name,
            "service",
            name,
            Verdict.CARRIED,
            name,
            outcome=Outcome.FAILED,
            outcome_reason=name,
        )
        session.workloads.append(work)
        for mark, at in ((marks.FROZEN, start), (marks.RUNNING, start + length)):
            kept.append(Mark(mark, end.realtime_us + at, end.boottime_us + at, end.boot_id, name))
    last = dataclasses.replace(end, name=marks.HEALTH_END)
    last.realtime_us += whole
    last.boottime_us += whole
    session.marks = [*kept, last]
    return session


@settings(max_examples=60)
@given(
    names=st.lists(st.text(min_size=1, max_size=200), min_size=1, max_size=30, unique=True),
    spans=st.lists(
        st.tuples(st.integers(0, 10**8), st.integers(0, 10**10)), min_size=30, max_size=30
    ),
    whole=st.integers(0, 10**11),
)
def test_nothing_lies_upon_anything_else_whatever_the_names_and_times(
    names: list[str], spans: list[tuple[int, int]], whole: int
) -> None:
    drawn = picture(made_up(names, spans, whole))
    assert len(drawn.rows("workload")) == len(names)
    assert drawn.misplaced() == []


def test_thirty_workloads_with_long_names() -> None:
    names = [f"services:{'a-very-long-name-of-a-service' * 4}@{n}.service" for n in range(30)]
    drawn = picture(made_up(names, [(n * 10**5, 10**7) for n in range(30)], 10**8))
    assert drawn.rows("workload") == names
    assert drawn.misplaced() == []
    assert drawn.width < 1500
    labels = {text for text in drawn.texts if "…" in text and text.startswith("services:")}
    assert len(labels) == 30  # what tells them apart is still there


@given(st.integers(1, 10**13))
def test_ticks_are_few_and_round(length: int) -> None:
    found = chart.ticks(length)
    assert 1 <= len(found) <= 11
    assert found[0][0] == 0
    assert found[-1][0] <= length
    assert len({words for _, words in found}) == len(found)


@given(st.text(st.characters()))
def test_any_text_is_xml_and_on_one_line(text: str) -> None:
    root = svg.picture(text)
    svg.label(root, 1, 2, text)
    [read] = Picture(svg.document(root)).texts
    assert read.isprintable()


@given(st.text(), st.integers(1, 80))
def test_what_is_fitted_fits(text: str, room: int) -> None:
    assert svg.cells(svg.fitted(text, room)) <= room


def test_overlaps_would_be_seen() -> None:
    """The tests' own eyes."""
    text = svg.document(update.draw(*real.record(real.ten_workloads())))
    shifted = text.replace('x="16"', 'x="200"')
    assert "6.12.117+deb13-cloud-amd64 on its bar" in Picture(shifted).misplaced()
    assert Picture(text.replace("hooks:torn</text>", f"{'x' * 200}</text>")).misplaced()
