# SPDX-License-Identifier: LGPL-2.1-or-later
"""The picture of one session: both kernels, the phases, each workload from freeze to thaw."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from xml.etree.ElementTree import Element

from liveupdated.ctl import render, units
from liveupdated.ctl.plot import chart, svg
from liveupdated.ctl.plot.chart import Bar, Chart, Row, Section, Shape
from liveupdated.ctl.plot.critical import BLACKOUT, SAVE, critical_path, longest
from liveupdated.ctl.shapes import Phase, Session, SessionDetail, SessionWorkload, Timeline

_BEFORE = {"plan", "stage", "save", "stop"}
_JUMP = {"kexec", "outage"}
_AT_WORK = (SAVE, f"{BLACKOUT}/restore", f"{BLACKOUT}/resume")
"""The parts of a blackout in which something is done about the workload itself."""
_RELEASE_CELLS = 40
_WORKLOAD_CELLS = 44

_LEGEND = (
    ("before", Shape.BAR, "before the jump"),
    ("jump", Shape.BAR, "jump"),
    ("after", Shape.BAR, "after the jump"),
    ("carried", Shape.BAR, "carried"),
    ("restarted", Shape.BAR, "restarted"),
    ("reopened", Shape.BAR, "reopened"),
    ("lost", Shape.BAR, "lost"),
    ("failed", Shape.BAR, "failed"),
    ("open", Shape.BAR, "no outcome"),
    ("away open", Shape.BAR, "paler: the rest of the freeze"),
    ("critical", Shape.STRIP, "critical path"),
    ("blackout", Shape.BAR, "longest blackout"),
    ("foretold", Shape.MARK, "its end as predicted"),
)


def draw(session: SessionDetail, timeline: Timeline) -> Element:
    """The SVG of the session; without marks it says that there are none."""
    phases = timeline["phases"]
    if not phases:
        lines = [*headlines(session, timeline), "The session has no marks."]
        return chart.draw(Chart(title(session), lines, [], 0))
    begin = min(phase["start_us"] for phase in phases)
    end = max(_end(phase) for phase in phases)
    path = [_moved(link, begin) for link in critical_path(phases)]
    moved = [_moved(phase, begin) for phase in phases]
    worst = longest(moved)
    band = Bar(worst["start_us"], worst["duration_us"], "blackout") if worst else None
    sections = [
        Section("Kernels", _kernels(session, moved, end - begin)),
        Section("Phases", _phases(moved, path, jumped=bool(session["arrival_kernel"]))),
        Section("Workloads, from freeze to thaw", _workloads(session, moved, path, end - begin)),
    ]
    drawn = Chart(
        title=title(session),
        lines=headlines(session, timeline),
        sections=[section for section in sections if section.rows],
        length_us=end - begin,
        legend=_LEGEND,
        band=band,
    )
    return chart.draw(drawn)


def title(session: Session) -> str:
    """What was done, from which kernel to which."""
    doing = {"rehearse": "Rehearsal", "rollback": "Rollback"}.get(session["road"], "Live update")
    return f"{doing}, {way(session, _RELEASE_CELLS)}"


def way(session: Session, room: int) -> str:
    """Both kernels, each in at most `room` cells; one of a session that was to stay in its own."""
    old = svg.fitted(session["origin_kernel"], room)
    new = svg.fitted(session["arrival_kernel"] or session["target_kernel"], room)
    return f"{old} → {new}" if new else old


def headlines(session: SessionDetail, timeline: Timeline) -> list[str]:
    """What the picture is about, in a few lines."""
    lines = [
        f"{session['state']}, begun {units.moment(session['created_us'])}, "
        f"asked by {session['road']}, session {session['id']}",
    ]
    if session["reason"]:
        lines.append(session["reason"])
    worst = longest(timeline["phases"])
    if worst:
        measured, predicted = session["blackout_us"], session["predicted_blackout_us"]
        told = f", {units.duration(predicted)} predicted" if predicted else ""
        lines.append(
            f"blackout {units.duration(measured)}{told}, of {worst['workload']}; "
            f"the whole {units.duration(timeline['duration_us'])}"
        )
    if unsure := timeline["uncertainty_us"]:
        lines.append(f"spans across the jump may be off by {units.duration(unsure)}")
    lines.append(f"workloads: {_ends(session['workloads'])}")
    return lines


def _ends(workloads: Sequence[SessionWorkload]) -> str:
    """How many came to which end; before there is any, to which they are to come."""
    if any(workload["outcome"] for workload in workloads):
        return render.counts(Counter(w["outcome"] or "open" for w in workloads))
    return "to be " + render.counts(Counter(w["verdict"] for w in workloads))


def _kernels(session: SessionDetail, phases: Sequence[Phase], whole: int) -> list[Row]:
    """Each with the time in which it certainly ran.

    What lies between is a phase of both: the mark that parts them is missing.
    """
    top = [phase for phase in phases if not phase["workload"] and "/" not in phase["name"]]
    old = [phase for phase in top if not _sides(phase) - {"before"}]
    new = [phase for phase in top if not _sides(phase) - {"after"}]
    if not session["arrival_kernel"]:
        return [_kernel(session["origin_kernel"], 0, whole, "before")]
    rows = []
    if old:
        rows.append(_kernel(session["origin_kernel"], 0, _end(old[-1]), "before"))
    if new:
        rows.append(_kernel(session["arrival_kernel"], new[0]["start_us"], whole, "after"))
    return rows


def _kernel(release: str, start: int, end: int, style: str) -> Row:
    return Row(
        name=release,
        label=svg.fitted(release, _RELEASE_CELLS),
        style="kernel",
        bars=[Bar(start, end - start, style)],
        note=units.duration(end - start),
        tip=release,
    )


def _phases(phases: Sequence[Phase], path: Sequence[Phase], jumped: bool) -> list[Row]:
    rows = []
    for phase in render.nested([phase for phase in phases if not phase["workload"]]):
        owner, slash, part = phase["name"].partition("/")
        style = _side(owner) if jumped else "before"
        start, length = phase["start_us"], phase["duration_us"]
        shape = Shape.PART if slash else Shape.BAR
        bars = [Bar(start, length, f"{style} part" if slash else style, shape)]
        bars += _critical(path, phase["name"], "")
        rows.append(
            Row(
                name=phase["name"],
                label=part or phase["name"],
                style="phase",
                bars=bars,
                note=units.duration(length),
                tip=_told(phase["name"], phase),
                part=bool(slash),
            )
        )
    return rows


def _sides(phase: Phase) -> set[str]:
    return {_side(name) for name in phase["name"].split("+")}


def _side(phase: str) -> str:
    """Before the jump, the jump, or after it; what the jump is a part of is the jump."""
    names = phase.split("+")
    if _JUMP & set(names):
        return "jump"
    return "before" if names[0] in _BEFORE else "after"


def _workloads(
    session: SessionDetail, phases: Sequence[Phase], path: Sequence[Phase], whole: int
) -> list[Row]:
    """Those that were frozen, in that order; then those that did not come to what was promised."""
    known = {workload["id"]: workload for workload in session["workloads"]}
    first: dict[str, int] = {}
    for phase in phases:
        if phase["workload"]:
            start = phase["start_us"]
            first[phase["workload"]] = min(first.get(phase["workload"], start), start)
    frozen = sorted(first, key=lambda workload: (first[workload], workload))
    worst = longest(phases)
    rows = []
    for name in frozen:
        own = [phase for phase in phases if phase["workload"] == name]
        row = _workload(name, known.get(name), own, path)
        foretold = _foretold(session, own, worst, whole)
        rows.append(replace(row, bars=[*row.bars, *foretold]))
    for workload in session["workloads"]:
        if workload["id"] not in first and disappoints(workload):
            rows.append(_workload(workload["id"], workload, [], path))
    return rows


def _workload(
    name: str, workload: SessionWorkload | None, own: Sequence[Phase], path: Sequence[Phase]
) -> Row:
    outcome = (workload["outcome"] if workload else "") or "open"
    styles = {BLACKOUT: f"{outcome} away", **dict.fromkeys(_AT_WORK, outcome)}
    bars = [
        Bar(phase["start_us"], phase["duration_us"], styles[phase["name"]])
        for phase in own
        if phase["name"] in styles
    ]
    # The one that all waited for has its link as a save, the one with the longest blackout whole.
    bars += [strip for part in (SAVE, BLACKOUT) for strip in _critical(path, part, name)]
    away = [phase for phase in own if phase["name"] == BLACKOUT]
    notes = [units.duration(phase["duration_us"]) for phase in away]
    tips = [_told(phase["name"], phase) for phase in own]
    if not away:
        notes.append("not back" if outcome == "open" else outcome)
    elif workload and disappoints(workload):
        notes.append(outcome)
    if workload:
        why = workload["outcome_reason"] or workload["reason"]
        tips.append(f"{workload['verdict']}, {outcome}: {why}")
        if disappoints(workload):
            notes.append(why)
    bad = workload is not None and disappoints(workload)
    return Row(
        name=name,
        label=svg.fitted(name, _WORKLOAD_CELLS),
        style="workload",
        bars=bars,
        note=", ".join(notes),
        note_style="bad" if bad else "",
        tip="\n".join([name, *tips]),
    )


def _foretold(session: Session, own: Sequence[Phase], worst: Phase | None, whole: int) -> list[Bar]:
    """Where the longest blackout was to end, by the prediction; none beyond the axis."""
    if worst is None or worst not in own or not session["predicted_blackout_us"]:
        return []
    end = worst["start_us"] + session["predicted_blackout_us"]
    return [Bar(end, 0, "foretold", Shape.MARK)] if end <= whole else []


def disappoints(workload: SessionWorkload) -> bool:
    """Whether it came to another end than was promised."""
    return bool(workload["outcome"]) and workload["outcome"] != workload["verdict"]


def _critical(path: Sequence[Phase], name: str, workload: str) -> list[Bar]:
    return [
        Bar(link["start_us"], link["duration_us"], "critical", Shape.STRIP)
        for link in path
        if (link["name"], link["workload"]) == (name, workload)
    ]


def _told(name: str, phase: Phase) -> str:
    start, length = units.duration(phase["start_us"]), units.duration(phase["duration_us"])
    return f"{name}: {length}, from {start} on"


def _moved(phase: Phase, begin: int) -> Phase:
    return Phase(
        name=phase["name"],
        start_us=phase["start_us"] - begin,
        duration_us=phase["duration_us"],
        workload=phase["workload"],
    )


def _end(phase: Phase) -> int:
    return phase["start_us"] + phase["duration_us"]
