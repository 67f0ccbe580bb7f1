# SPDX-License-Identifier: LGPL-2.1-or-later
"""The picture of all sessions: the blackout of each, measured and predicted."""

import statistics
import time
from collections import Counter
from collections.abc import Sequence
from xml.etree.ElementTree import Element

from liveupdated.ctl import render, units
from liveupdated.ctl.plot import chart
from liveupdated.ctl.plot.chart import Bar, Chart, Row, Section, Shape
from liveupdated.ctl.plot.update import way
from liveupdated.ctl.shapes import Session

_RELEASE_CELLS = 26
_BAD = ("degraded", "missed", "abandoned")
_ARRIVED = ("confirmed", "degraded")
_TITLE = "Live updates"
_LEGEND = (
    ("confirmed", Shape.BAR, "confirmed"),
    ("rehearsed", Shape.BAR, "rehearsed: without a jump"),
    ("degraded", Shape.BAR, "degraded"),
    ("abandoned", Shape.BAR, "abandoned"),
    ("missed", Shape.BAR, "missed"),
    ("open", Shape.BAR, "under way"),
    ("predicted", Shape.STRIP, "as predicted"),
)
_ENDS = {style for style, _, _ in _LEGEND}


def draw(sessions: Sequence[Session]) -> Element:
    """The SVG of the sessions, newest first as they come; without any it says so."""
    if not sessions:
        return chart.draw(Chart(_TITLE, ["There was no live update yet."], [], 0))
    rows = [_row(session) for session in sessions]
    ends = [bar.length for row in rows for bar in row.bars]
    drawn = Chart(
        title=_TITLE,
        lines=_headlines(sessions),
        sections=[Section("Longest blackout of each session, newest first", rows)],
        length_us=max(ends, default=0),
        legend=_LEGEND,
    )
    return chart.draw(drawn)


def _headlines(sessions: Sequence[Session]) -> list[str]:
    lines = [f"{len(sessions)} sessions: {render.counts(Counter(s['state'] for s in sessions))}"]
    jumped = [s for s in sessions if s["state"] in _ARRIVED and s["blackout_us"]]
    if jumped:
        blackout = round(statistics.median(s["blackout_us"] for s in jumped))
        lines.append(f"median blackout of an update: {units.duration(blackout)}")
    foretold = [s for s in jumped if s["predicted_blackout_us"]]
    if foretold:
        off = statistics.median(
            abs(s["predicted_blackout_us"] - s["blackout_us"]) / s["blackout_us"] for s in foretold
        )
        lines[-1] += f"; predictions were off by {off:.0%} (median)"
    return lines


def _row(session: Session) -> Row:
    measured, predicted = session["blackout_us"], session["predicted_blackout_us"]
    bars, notes = [], []
    if measured:
        bars.append(Bar(0, measured, session["state"] if session["state"] in _ENDS else "open"))
        notes.append(units.duration(measured))
    if predicted:
        bars.append(Bar(0, predicted, "predicted", Shape.STRIP))
        notes.append(f"{units.duration(predicted)} predicted")
    bad = session["state"] in _BAD
    outcomes = {word: n for word, n in session["outcomes"].items() if word in ("failed", "lost")}
    notes.append(session["state"])
    if any(outcomes.values()):
        notes.append(render.counts(outcomes))
    if bad and session["reason"]:
        notes.append(session["reason"])
    begun = units.moment(session["created_us"])
    return Row(
        name=session["id"],
        label=f"{_day(session['created_us'])} · {way(session, _RELEASE_CELLS)}",
        style="session",
        bars=bars,
        note=", ".join(notes),
        note_style="bad" if bad else "",
        tip="\n".join(
            [
                f"session {session['id']}, begun {begun}, asked by {session['road']}",
                way(session, 200),
                ", ".join(notes),
                f"workloads: {render.counts(session['outcomes'])}",
                session["reason"],
            ]
        ).rstrip(),
    )


def _day(us: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(us // 1_000_000))
