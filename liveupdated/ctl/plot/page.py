# SPDX-License-Identifier: LGPL-2.1-or-later
"""The report of one session: a page of HTML that needs nothing beside itself.

It is built as a tree and not from a template: names of any user's processes stand in it, and in a
tree there is no place where one can be forgotten to be escaped.
"""

from collections.abc import Iterable, Sequence
from xml.etree.ElementTree import Element, SubElement, tostring

from liveupdated.ctl import render, units
from liveupdated.ctl.plot import update
from liveupdated.ctl.shapes import SessionDetail, SessionWorkload, Timeline
from liveupdated.ctl.units import plain

# Should there be a way to get something in all the same, a browser neither runs nor loads it.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
:root{color-scheme:light dark}
body{font:14px/1.45 system-ui,sans-serif;margin:1.5rem;color:#1f2328;background:#fff}
h2{font-size:1.05rem;margin-top:2rem}
svg{max-width:100%;height:auto}
table{border-collapse:collapse}
th,td{text-align:left;vertical-align:top;padding:.25rem .9rem .25rem 0}
td{border-top:1px solid #d8dee4}
td.name{overflow-wrap:anywhere;min-width:16rem}
td.text{overflow-wrap:anywhere;min-width:20rem}
td.number,th.number{text-align:right;white-space:nowrap}
td.part{padding-left:1.5rem;color:#59636e}
td.good{color:#1a7f37}
td.bad{color:#cf222e}
@media (prefers-color-scheme:dark){
body{color:#e6edf3;background:#0d1117}
td{border-color:#30363d}
td.part{color:#9198a1}
td.good{color:#3fb950}
td.bad{color:#ff7b72}
}
"""
_NUMBER = "number"


def report(session: SessionDetail, timeline: Timeline) -> str:
    """The whole page."""
    root = Element("html", {"lang": "en"})
    head = SubElement(root, "head")
    SubElement(head, "meta", {"charset": "utf-8"})
    SubElement(head, "meta", {"http-equiv": "Content-Security-Policy", "content": _POLICY})
    SubElement(head, "meta", {"name": "viewport", "content": "width=device-width"})
    _text(head, "title", update.title(session))
    SubElement(head, "style").text = _STYLE
    body = SubElement(root, "body")
    body.append(update.draw(session, timeline))
    _workloads(body, session["workloads"])
    _phases(body, timeline)
    _notes(body, [*session["notes"], *timeline["notes"]])
    return "<!DOCTYPE html>\n" + tostring(root, encoding="unicode", method="html") + "\n"


def _workloads(body: Element, workloads: Sequence[SessionWorkload]) -> None:
    _text(body, "h2", "Workloads")
    if not workloads:
        _text(body, "p", "There are none in this session.")
        return
    columns = [("Workload", ""), ("Verdict", ""), ("Outcome", "")]
    columns += [("Frozen", _NUMBER), ("Size", _NUMBER), ("Reason", "")]
    table = _table(body, columns)
    for workload in workloads:
        frozen, size = workload["frozen_us"], workload["bytes"]
        _row(
            table,
            [
                (workload["id"], "name"),
                (workload["verdict"], ""),
                (workload["outcome"] or "open", _judged(workload)),
                (units.duration(frozen) if frozen else "", _NUMBER),
                (units.size(size) if size else "", _NUMBER),
                (workload["outcome_reason"] or workload["reason"], "text"),
            ],
        )


def _judged(workload: SessionWorkload) -> str:
    if update.disappoints(workload):
        return "bad"
    return "good" if workload["outcome"] == "carried" else ""


def _phases(body: Element, timeline: Timeline) -> None:
    phases = [phase for phase in timeline["phases"] if not phase["workload"]]
    if not phases:
        return
    _text(body, "h2", "Phases")
    table = _table(body, [("Phase", ""), ("Start", _NUMBER), ("Time", _NUMBER), ("Share", _NUMBER)])
    begin = min(phase["start_us"] for phase in phases)
    for phase in render.nested(phases):
        _, _, part = phase["name"].partition("/")
        share = phase["duration_us"] / max(timeline["duration_us"], 1)
        _row(
            table,
            [
                (part or phase["name"], "part" if part else ""),
                (f"+{units.duration(phase['start_us'] - begin)}", _NUMBER),
                (units.duration(phase["duration_us"]), _NUMBER),
                (f"{share:.1%}", _NUMBER),
            ],
        )


def _notes(body: Element, notes: Sequence[str]) -> None:
    if notes:
        _text(body, "h2", "Notes")
        found = SubElement(body, "ul")
        for note in notes:
            _text(found, "li", note)


def _table(body: Element, columns: Iterable[tuple[str, str]]) -> Element:
    table = SubElement(body, "table")
    _row(SubElement(table, "thead"), columns, "th")
    return SubElement(table, "tbody")


def _row(table: Element, cells: Iterable[tuple[str, str]], tag: str = "td") -> None:
    row = SubElement(table, "tr")
    for text, style in cells:
        _text(row, tag, text, style)


def _text(parent: Element, tag: str, text: str, style: str = "") -> None:
    SubElement(parent, tag, {"class": style} if style else {}).text = plain(text)
