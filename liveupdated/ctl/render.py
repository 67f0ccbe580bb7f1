# SPDX-License-Identifier: LGPL-2.1-or-later
"""Shapes to text for people.  Pure: a shape goes in, a renderable of rich comes out.

Rich takes longer to import than a call to the daemon takes, so that only this module and the
progress display import it, and whoever prints JSON imports neither.
"""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from liveupdated.ctl import units
from liveupdated.ctl.brief import SHORT_ID, way
from liveupdated.ctl.shapes import (
    Advice,
    Advised,
    Kernel,
    Phase,
    Plan,
    Session,
    SessionDetail,
    Timeline,
    Workload,
)
from liveupdated.ctl.units import plain

_STYLES = {
    "carried": "green",
    "restarted": "cyan",
    "reopened": "yellow",
    "lost": "red",
    "blocks": "bold red",
    "failed": "bold red",
    "confirmed": "green",
    "rehearsed": "green",
    "degraded": "yellow",
    "missed": "bold red",
    "abandoned": "yellow",
}
_BAR_CELLS = 32
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_ORDINARY = ("starts with the boot", "starts when ", "comes with a unit")
"""How the reasons of services begin that every boot brings back.  The contract has no field for it;
where the words change one day, such services are shown instead of counted."""


def show(what: RenderableType) -> None:
    """Print on stdout: as wide as the terminal; into a pipe as wide as it is, without padding."""
    # rich leaves out colors where there is no terminal, or NO_COLOR is set.
    console = Console(markup=False, highlight=False, emoji=False)
    if sys.stdout.isatty():
        console.print(what)
        return
    console.width = 10_000
    with console.capture() as captured:
        console.print(what)
    for line in captured.get().splitlines():
        print(line.rstrip())


def kernels(shape: Sequence[Kernel]) -> RenderableType:
    """What can be booted, newest first."""
    table = _table("", "Kernel", "Release", "Kind", "Notes")
    for kernel in shape:
        notes = [word for word in ("running", "staged", "blocked") if kernel[word]]
        notes += [plain(problem) for problem in kernel["problems"]]
        sign = "●" if kernel["running"] else "→" if kernel["staged"] else " "
        style = "red" if kernel["blocked"] or kernel["problems"] else ""
        table.add_row(
            sign,
            plain(kernel["id"]),
            plain(kernel["release"]),
            plain(kernel["kind"]),
            Text("; ".join(notes), style=style),
        )
    return table if shape else Text("no kernel was found")


def workloads(shape: Sequence[Workload]) -> RenderableType:
    """Every workload with its verdict."""
    if not shape:
        return Text("no workload was found")
    table = _table("Workload", "Verdict", ("Size", "right"), ("Time", "right"), "Reason")
    for workload in shape:
        table.add_row(
            plain(workload["name"]),
            _word(workload["verdict"]),
            units.size(workload["bytes"]) if workload["bytes"] else "",
            units.duration(workload["cost_us"]) if workload["cost_us"] else "",
            plain(workload["reason"]),
        )
    return table


def why(shape: Sequence[Workload]) -> RenderableType:
    """Each workload with who decided about it."""
    return Group(
        *(
            _pairs(
                [
                    ("Workload", workload["id"]),
                    ("Verdict", workload["verdict"]),
                    ("Reason", workload["reason"]),
                    ("Decided by", workload["source"] or "nobody: as is done with this kind"),
                ]
            )
            for workload in shape
        )
    )


def plan(shape: Plan, everything: bool = False) -> RenderableType:
    """Target, rung, verdicts, prediction and blockers; boot-started services only as a number."""
    shown = [w for w in shape["workloads"] if everything or not ordinary(w)]
    left_out = len(shape["workloads"]) - len(shown)
    parts: list[RenderableType] = [plan_summary(shape), Text("")]
    if shown:
        parts.append(workloads(shown))
    if left_out:
        services = "service that comes" if left_out == 1 else "services that come"
        parts.append(
            Text(f"and {left_out} {services} with the boot: restarted, memory lost (--all)")
        )
    return Group(*parts, *_candidates(shape))


def _candidates(shape: Plan) -> list[RenderableType]:
    """What would be worth carrying, each with the command to type."""
    if not shape["candidates"]:
        return []
    lines = [
        Text(f"  {plain(candidate['command'])}  # {plain(candidate['why'])}")
        for candidate in shape["candidates"]
    ]
    return [Text(""), Text("These could be carried with their memory:"), *lines]


def plan_summary(shape: Plan) -> RenderableType:
    """The plan without its rows: what is asked before an update."""
    rung = shape["rung"] + (f": {shape['rung_reason']}" if shape["rung_reason"] else "")
    room = f"{units.size(shape['bytes'])}, {units.size(shape['free_bytes'])} free"
    rows = [
        ("Kernel", f"{shape['release']} ({shape['kernel']})" if shape["kernel"] else "none"),
        ("Rung", rung),
        ("Blackout", f"{units.duration(shape['blackout_us'])}, predicted"),
        ("To save", room),
        ("Carrier", f"{shape['carrier']}: {shape['carrier_reason']}"),
        ("Stop", shape["stop"]),
        ("Workloads", counts(Counter(w["verdict"] for w in shape["workloads"]))),
    ]
    rows += [("Blocked", blocker) for blocker in shape["blockers"]]
    return _pairs(rows)


def ordinary(workload: Workload) -> bool:
    """Whether it is a service that every boot brings back, and nobody opted in to carry it."""
    return workload["verdict"] == "restarted" and workload["reason"].startswith(_ORDINARY)


def counts(found: Mapping[str, int]) -> str:
    """``3 carried, 1 restarted``, in the order of `_STYLES`."""
    order = {word: place for place, word in enumerate(_STYLES)}
    words = sorted(found, key=lambda word: (order.get(word, len(order)), word))
    return ", ".join(f"{found[word]} {plain(word)}" for word in words if found[word]) or "none"


def sessions(shape: Sequence[Session]) -> RenderableType:
    """One line a session, newest first."""
    if not shape:
        return Text("there was no live update yet")
    table = _table("Session", "Begun", "Asked by", "Kernels", "State", "Workloads")
    for session in shape:
        table.add_row(
            session["id"][:SHORT_ID],
            units.moment(session["created_us"]),
            plain(session["road"]),
            plain(way(session)),
            _word(session["state"]),
            counts(session["outcomes"]),
        )
    return table


def session(shape: SessionDetail) -> RenderableType:
    """What became of one session and of each of its workloads."""
    rows = [
        ("Session", shape["id"]),
        ("Begun", f"{units.moment(shape['created_us'])}, asked by {shape['road']}"),
        ("Kernels", way(shape)),
        ("State", shape["state"] + (f": {shape['reason']}" if shape["reason"] else "")),
        ("Carrier", shape["carrier"]),
        ("Stop", shape["stop"]),
    ]
    if shape["blackout_us"]:
        rows.append(("Blackout", _blackout(shape)))
    rows += [("Note", note) for note in shape["notes"]]
    parts: list[RenderableType] = [_pairs(rows)]
    if shape["workloads"]:
        table = _table("Workload", "Verdict", "Outcome", ("Frozen", "right"), "Reason")
        for workload in shape["workloads"]:
            table.add_row(
                plain(workload["name"]),
                _word(workload["verdict"]),
                _word(workload["outcome"] or "open"),
                units.duration(workload["frozen_us"]) if workload["frozen_us"] else "",
                plain(workload["outcome_reason"] or workload["reason"]),
            )
        parts += [Text(""), table]
    return Group(*parts)


def _blackout(shape: SessionDetail | Timeline) -> str:
    predicted = units.duration(shape["predicted_blackout_us"])
    return f"{units.duration(shape['blackout_us'])}, {predicted} predicted"


def timeline(shape: Timeline) -> RenderableType:
    """The phases as a table with bars over time."""
    if not shape["phases"]:
        return Text("the session has no marks")
    table = _table("Phase", ("Start", "right"), ("Time", "right"), "")
    begin = min(phase["start_us"] for phase in shape["phases"])
    end = max(phase["start_us"] + phase["duration_us"] for phase in shape["phases"])
    for phase in nested(shape["phases"]):
        table.add_row(
            _phase_name(phase),
            f"+{units.duration(phase['start_us'] - begin)}",
            units.duration(phase["duration_us"]),
            Text(
                bar(phase["start_us"] - begin, phase["duration_us"], end - begin),
                style="yellow" if phase["workload"] else "blue",
            ),
        )
    rows = [("Session", shape["session"]), ("Whole", units.duration(shape["duration_us"]))]
    if shape["blackout_us"]:
        rows.append(("Blackout", _blackout(shape)))
    rows += [("Note", note) for note in shape["notes"]]
    return Group(table, Text(""), _pairs(rows))


def nested(phases: Sequence[Phase]) -> list[Phase]:
    """Each phase followed by its parts, workloads last."""
    found: list[Phase] = []
    for phase in phases:
        if "/" not in phase["name"]:
            found += [phase, *(part for part in phases if _is_part(part, phase))]
    found += [phase for phase in phases if phase not in found]
    return sorted(found, key=lambda phase: bool(phase["workload"]))


def _is_part(part: Phase, phase: Phase) -> bool:
    owner, slash, _ = part["name"].partition("/")
    of_it = owner in phase["name"].split("+")
    return bool(slash) and of_it and part["workload"] == phase["workload"]


def _phase_name(phase: Phase) -> str:
    _, _, part = phase["name"].partition("/")
    if part:
        return f"  {part}"
    if phase["workload"]:
        return f"{phase['name']} {plain(phase['workload'])}"
    return phase["name"]


def bar(start: int, length: int, whole: int, cells: int = _BAR_CELLS) -> str:
    """`length` of `whole`, beginning at `start`, as blocks of an eighth of a cell.

    Something that takes any time at all shows, if only as a hair.
    """
    if whole <= 0:
        return ""
    lead = min(start * cells // whole, cells - 1)
    full, rest = divmod(max(round(length / whole * cells * 8), 1), 8)
    return (" " * lead + "█" * full + _EIGHTHS[rest].strip())[:cells]


def advised(shape: Advised) -> RenderableType:
    """What was measured, what would help, and what could not be read."""
    table = _table("Measured", ("Time", "right"), "")
    for fact in shape["facts"]:
        took = units.duration(fact["duration_us"]) if fact["duration_us"] else ""
        table.add_row(plain(fact["name"]), took, plain(fact["text"]))
    parts: list[RenderableType] = [table] if shape["facts"] else []
    for each in shape["advice"]:
        parts += [Text(""), Text(f"{_gain(each)}: {plain(each['title'])}", style="bold")]
        rows = [("Seen", line) for line in each["seen"]] + [("Do", each["do"])]
        rows += [("Command", each["command"])] if each["command"] else []
        if each["applied"]:
            rows.append(("Applied", "from the next jump on; --undo takes it back"))
        parts.append(Padding(_pairs(rows), (0, 0, 0, 2)))
    if not shape["advice"]:
        parts += [Text(""), Text("nothing to advise")]
    if unread := [("Not read", line) for line in shape["unread"]]:
        parts += [Text(""), _pairs(unread)]
    return Group(*parts)


def _gain(advice: Advice) -> str:
    if advice["basis"] == "unknown":
        return "unknown gain"
    return f"{units.duration(advice['gain_us'])}, {advice['basis']}"


def _word(word: str) -> Text:
    return Text(plain(word), style=_STYLES.get(word, ""))


def _pairs(rows: Sequence[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in rows:
        table.add_row(f"{key}:", Text(plain(value), style=_STYLES.get(value, "")))
    return table


def _table(*columns: str | tuple[str, str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        if isinstance(column, tuple):
            table.add_column(column[0], justify="right", no_wrap=True)
        else:
            table.add_column(column, overflow="fold")
    return table
