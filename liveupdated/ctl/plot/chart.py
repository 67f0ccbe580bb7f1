# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rows of bars over one axis of time: what both pictures are.

Every row has its label in a column on the left and its note behind its last bar.  The columns are
as wide as the longest text in them, so that nothing overlaps, whatever the names and numbers are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from xml.etree.ElementTree import Element

from liveupdated.ctl.plot import svg
from liveupdated.ctl.plot.svg import CELL, Box

PLOT = 720.0
"""Pixels of the axis."""
MARGIN = 16.0
ROW = 18.0
_GAP = 8.0
_HEADING = 26.0
_LINE = 17.0
_HAIR = 1.5
"""What takes any time at all shows."""
_LABEL_CELLS, _NOTE_CELLS = 80, 60

_STEPS_US = [
    *(factor * 10**power for power in range(6) for factor in (1, 2, 5)),
    *(
        seconds * 1_000_000
        for seconds in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600)
    ),
]
_MOST_TICKS = 10


class Shape(Enum):
    """Of a bar: how far it lies below the top of its row, and how high it is."""

    BAR = 2.0, 11.0
    PART = 4.0, 7.0
    STRIP = 13.0, 3.0
    MARK = 0.0, 17.0


@dataclass(frozen=True)
class Bar:
    """A span of the axis, in microseconds from its begin."""

    start: int
    length: int
    style: str
    shape: Shape = Shape.BAR


@dataclass(frozen=True)
class Row:
    """`name` is for programs, `label` and `note` are for the eye, `tip` for the pointer."""

    name: str
    label: str
    style: str
    bars: Sequence[Bar] = ()
    note: str = ""
    note_style: str = ""
    tip: str = ""
    part: bool = False
    """Of the row above: set in."""


@dataclass(frozen=True)
class Section:
    heading: str
    rows: Sequence[Row]


@dataclass(frozen=True)
class Chart:
    title: str
    lines: Sequence[str]
    """Below the title."""
    sections: Sequence[Section]
    length_us: int
    """Of the axis."""
    legend: Sequence[tuple[str, Shape, str]] = ()
    """Style and shape of a bar, and what it stands for; those that are not drawn are left out."""
    band: Bar | None = None
    """Behind all rows."""

    @property
    def rows(self) -> list[Row]:
        return [row for section in self.sections for row in section.rows]

    @property
    def bars(self) -> list[Bar]:
        """All that are drawn."""
        found = [bar for row in self.rows for bar in row.bars]
        return [*found, self.band] if self.band else found


@dataclass(frozen=True)
class _Layout:
    chart: Chart
    left: float
    """Where the axis begins."""
    width: float

    def x(self, moment: float) -> float:
        return self.left + moment / max(self.chart.length_us, 1) * PLOT

    def note_x(self, row: Row) -> float:
        """Behind the last bar."""
        end = max((bar.start + bar.length for bar in row.bars), default=0)
        return self.x(end) + _GAP / 2

    def note(self, row: Row) -> str:
        """What fits: there is more room for a row that ends early."""
        room = int((self.left + PLOT - self.note_x(row)) / CELL)
        return svg.fitted(row.note, max(room, _NOTE_CELLS))


def draw(chart: Chart) -> Element:
    """The picture."""
    root = svg.picture(chart.title)
    layout = _layout(chart)
    y = _head(root, chart, layout)
    top = y
    bottom = top + _LINE + len(chart.sections) * _HEADING + len(chart.rows) * ROW + _GAP
    if chart.rows:
        _background(root, layout, top, bottom)
        y += _LINE
        for section in chart.sections:
            y = _section(root, section, layout, y)
        y = _legend(root, chart, layout, bottom + _LINE + _GAP)
    svg.frame(root, layout.width, y + MARGIN)
    return root


def ticks(length_us: int) -> list[tuple[int, str]]:
    """Round moments from 0 on, each with its words."""
    fits = (step for step in _STEPS_US if length_us / step <= _MOST_TICKS)
    # Beyond ten hours: whole hours, as many as it takes.
    step = next(fits, -(-length_us // (_MOST_TICKS * _STEPS_US[-1])) * _STEPS_US[-1])
    return [(moment, _moment(moment, step)) for moment in range(0, length_us + 1, step)]


def _moment(moment: int, step: int) -> str:
    if not moment:
        return "0 s"
    for unit, name in ((60_000_000, "min"), (100_000, "s"), (1_000, "ms")):
        if step >= unit:
            whole = 1_000_000 if name == "s" else unit
            return f"{moment / whole:g} {name}"
    return f"{moment} µs"


def _layout(chart: Chart) -> _Layout:
    widths = [svg.cells(_label(row)) + 2 * row.part for row in chart.rows]
    widths += [svg.cells(section.heading) for section in chart.sections]
    axis = _Layout(chart, left=MARGIN + max(widths, default=0) * CELL + _GAP, width=0)
    ends = [axis.note_x(row) + svg.cells(axis.note(row)) * CELL for row in chart.rows]
    return replace(axis, width=max([axis.left + PLOT, *ends]) + MARGIN)


def _label(row: Row) -> str:
    return svg.fitted(row.label, _LABEL_CELLS)


def _head(root: Element, chart: Chart, layout: _Layout) -> float:
    room = int((layout.width - 2 * MARGIN) / CELL)
    y = MARGIN + _LINE
    title_room = int(room * 11 / 15)  # its font is larger: see the style sheet
    svg.label(root, MARGIN, y - 3, svg.fitted(chart.title, title_room), "title")
    for text in chart.lines:
        y += _LINE
        svg.label(root, MARGIN, y, svg.fitted(text, room), "muted")
    return y + _LINE


def _background(root: Element, layout: _Layout, top: float, bottom: float) -> None:
    chart = layout.chart
    if chart.band:
        begin, end = layout.x(chart.band.start), layout.x(chart.band.start + chart.band.length)
        box = Box(begin, top + _LINE, end - begin, bottom - top - _LINE)
        svg.rect(root, box, chart.band.style)
    axis = svg.group(root, "axis", "axis")
    for moment, words in ticks(chart.length_us):
        x = layout.x(moment)
        svg.line(axis, x, top + _LINE, bottom, "grid")
        for y in (top + _LINE - 5, bottom + _LINE - 4):
            svg.label(axis, x, y, words, "muted middle")


def _section(root: Element, section: Section, layout: _Layout, y: float) -> float:
    svg.label(root, MARGIN, y + _HEADING - 8, section.heading, "heading")
    y += _HEADING
    for row in section.rows:
        _row(root, row, layout, y)
        y += ROW
    return y


def _row(root: Element, row: Row, layout: _Layout, y: float) -> None:
    drawn = svg.group(root, row.style, row.name)
    svg.tip(drawn, row.tip)
    # Also between label and bar there is something that a pointer can rest on.
    ground = Box(MARGIN, y, layout.width - 2 * MARGIN, ROW)
    svg.rect(drawn, ground, "ground").set("fill-opacity", "0")
    indent = 2 * CELL if row.part else 0
    svg.label(drawn, MARGIN + indent, y + 12, _label(row), "muted" if row.part else "")
    for bar in row.bars:
        begin = layout.x(bar.start)
        width = max(layout.x(bar.start + bar.length) - begin, _HAIR)
        below, height = bar.shape.value
        svg.rect(drawn, Box(begin, y + below, width, height), bar.style)
    if row.note:
        style = row.note_style or ("muted" if row.part else "")
        svg.label(drawn, layout.note_x(row), y + 12, layout.note(row), style)


def _legend(root: Element, chart: Chart, layout: _Layout, y: float) -> float:
    used = {(word, bar.shape) for bar in chart.bars for word in bar.style.split()}
    x = MARGIN
    for style, shape, words in chart.legend:
        if (style.split()[0], shape) not in used:
            continue
        width = 26 + svg.cells(words) * CELL + 2 * _GAP
        if x > MARGIN and x + width > layout.width - MARGIN:
            x, y = MARGIN, y + _LINE
        below, height = shape.value
        narrow = shape is Shape.MARK
        box = Box(x + 9 * narrow, y + below, 2 if narrow else 20, height)
        svg.rect(root, box, style)
        svg.label(root, x + 26, y + 12, words, "muted")
        x += width
    return y + ROW
