# SPDX-License-Identifier: LGPL-2.1-or-later
"""The picture of all sessions."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liveupdated.ctl.plot import svg, trend
from liveupdated.ctl.shapes import Session

from . import example
from .drawing import Picture, outside


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def session(name: str, state: str, blackout_us: int = 0, predicted_us: int = 0) -> Session:
    made = example.session()
    made["id"], made["state"] = name, state
    made["blackout_us"], made["predicted_blackout_us"] = blackout_us, predicted_us
    made["reason"] = "" if state in ("confirmed", "rehearsed") else f"why {name}"
    if state == "abandoned":
        made["arrival_kernel"] = ""
    return made


HISTORY = [
    session("e", "confirmed", 9_000_000, 10_000_000),
    session("d", "degraded", 14_500_000, 15_000_000),
    session("c", "abandoned", 0, 15_000_000),
    session("b", "missed"),
    session("a", "rehearsed", 2_000_000, 0),
]


def picture(sessions: list[Session]) -> Picture:
    return Picture(svg.document(trend.draw(sessions)))


def test_measured_and_predicted_beside_each_other() -> None:
    drawn = picture(HISTORY)
    assert drawn.rows("session") == ["e", "d", "c", "b", "a"]
    for known in HISTORY:
        measured = [bar for bar in drawn.bars(known["id"]) if bar.style == known["state"]]
        predicted = [bar for bar in drawn.bars(known["id"]) if bar.style == "predicted"]
        for bars, us in (
            (measured, known["blackout_us"]),
            (predicted, known["predicted_blackout_us"]),
        ):
            assert len(bars) == bool(us)
            for bar in bars:
                assert bar.begin == pytest.approx(0, abs=drawn.pixel)
                assert bar.end == pytest.approx(us / 1e6, abs=drawn.pixel)


def test_failures_and_kernels_are_seen() -> None:
    drawn = picture(HISTORY)
    assert drawn.note("e") == "9.00 s, 10.0 s predicted, confirmed"
    assert drawn.note("c") == "15.0 s predicted, abandoned, why c"
    assert drawn.note("b") == "missed, why b"
    bad = [t for t in drawn.root.iter() if t.get("class") == "bad"]
    assert len(bad) == 3
    assert "2026-11-18 11:04 · 6.12.57+deb13-amd64 → 7.3.4+deb13-amd64" in drawn.texts
    assert "5 sessions: 1 confirmed, 1 rehearsed, 1 degraded, 1 missed, 1 abandoned" in drawn.texts
    assert {"confirmed", "degraded", "missed"} & set(drawn.texts) == {"confirmed", "degraded"}


def test_failed_workloads_are_counted() -> None:
    known = session("x", "degraded", 5)
    known["outcomes"] = {"carried": 3, "failed": 2, "lost": 1}
    drawn = picture([known])
    assert drawn.note("x") == "5 µs, degraded, 1 lost, 2 failed, why x"
    assert "workloads: 3 carried, 1 lost, 2 failed" in drawn.tip("x")


def test_how_far_predictions_were_off() -> None:
    """Of updates only: a rehearsal has no jump in it."""
    assert (
        "median blackout of an update: 9.00 s; predictions were off by 7% (median)"
        in picture(HISTORY[:1] + HISTORY[1:2] + [session("z", "confirmed", 5_000_000)]).texts
    )


def test_no_session_yet() -> None:
    assert "There was no live update yet." in picture([]).texts


def test_nothing_is_fetched_from_elsewhere() -> None:
    assert outside(svg.document(trend.draw(HISTORY))) == []


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.text(max_size=100),
            st.sampled_from("confirmed degraded missed abandoned rehearsed saving".split()),
            st.integers(0, 10**11),
            st.integers(0, 10**11),
            st.text(max_size=100),
        ),
        min_size=1,
        max_size=100,
    )
)
def test_nothing_lies_upon_anything_else(found: list[tuple[str, str, int, int, str]]) -> None:
    sessions = []
    for number, (text, state, blackout, predicted, kernel) in enumerate(found):
        sessions.append(session(str(number), state, blackout, predicted))
        sessions[-1]["reason"], sessions[-1]["origin_kernel"] = text, kernel
    drawn = picture(sessions)
    assert drawn.misplaced() == []
    assert len(drawn.rows("session")) == len(found)
