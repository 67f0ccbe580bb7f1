# SPDX-License-Identifier: LGPL-2.1-or-later
"""The few elements of SVG that the pictures consist of, their colours, and text that fits.

Names come from units and processes of any user.  They get into a picture through `label` and
`tip` only, which take out what drives a terminal or is no XML; the library escapes the rest.
"""

import copy
import unicodedata
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring

from liveupdated.ctl.units import plain

CELL = 6.65
"""Width of a character: 0.6 em in the monospaced fonts that systems come with (DejaVu 0.602), at
the 11 px of the style sheet.  There is no other way to know how long a text will be."""

# Plain colours and not variables: librsvg, and what is built on it, knows neither var() nor @media,
# and then shows the light ones.
_LIGHT = """
.paper{fill:#fff}
text{font:11px 'DejaVu Sans Mono','Liberation Mono',Menlo,Consolas,monospace;fill:#1f2328}
text.title{font-size:15px;font-weight:bold}
text.heading{font-weight:bold}
text.muted{fill:#59636e}
text.end{text-anchor:end}
text.middle{text-anchor:middle}
text.bad{fill:#cf222e}
.grid{stroke:#d8dee4;stroke-width:1}
.blackout{fill:#cf222e;fill-opacity:.07}
.before{fill:#4c8ed9}
.jump{fill:#e08a2e}
.after{fill:#2b9e87}
.part{fill-opacity:.55}
.carried,.confirmed{fill:#3fa34d}
.restarted,.rehearsed{fill:#3a9bc8}
.reopened,.degraded{fill:#c69026}
.abandoned{fill:#9a6fd0}
.lost,.failed,.missed{fill:#d1343f}
.open{fill:#8b949e}
.away{fill-opacity:.35}
.critical{fill:#cf222e}
.predicted{fill:#8b949e}
.foretold{fill:#1f2328}
"""
_DARK = """
.paper{fill:#0d1117}
text{fill:#e6edf3}
text.muted{fill:#9198a1}
text.bad{fill:#ff7b72}
.grid{stroke:#30363d}
.blackout{fill-opacity:.2}
.critical{fill:#ff7b72}
.foretold{fill:#e6edf3}
"""
STYLE = f"{_LIGHT}@media (prefers-color-scheme:dark){{{_DARK}}}\n"


def picture(title: str) -> Element:
    """An empty one, to be drawn into and then given its size by `frame`."""
    root = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img"})
    tip(root, title)
    SubElement(root, "style").text = STYLE
    SubElement(root, "rect", {"class": "paper", "width": "100%", "height": "100%"})
    return root


def frame(root: Element, width: float, height: float) -> None:
    root.set("width", number(width))
    root.set("height", number(height))
    root.set("viewBox", f"0 0 {number(width)} {number(height)}")


def toned(root: Element, dark: bool) -> Element:
    """A copy in the light or the dark colours, for who does not know @media."""
    changed = copy.deepcopy(root)
    for style in changed.iter("style"):
        style.text = _LIGHT + _DARK if dark else _LIGHT
    return changed


def document(root: Element) -> str:
    """The whole file."""
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def group(parent: Element, style: str, name: str) -> Element:
    """What belongs together, under a name by which a program can find it."""
    return SubElement(parent, "g", {"class": style, "data-name": plain(name)})


def tip(parent: Element, text: str) -> None:
    """What shows when the pointer rests there.  Must be the first thing in `parent`."""
    if text:
        SubElement(parent, "title").text = "\n".join(plain(line) for line in text.splitlines())


class Box(NamedTuple):
    """A place in pixels."""

    x: float
    y: float
    width: float
    height: float


def rect(parent: Element, box: Box, style: str) -> Element:
    values = {key: number(value) for key, value in box._asdict().items()}
    return SubElement(parent, "rect", {**values, "class": style})


def line(parent: Element, x: float, top: float, bottom: float, style: str) -> None:
    """A vertical one."""
    place = {"x1": x, "x2": x, "y1": top, "y2": bottom}
    values = {key: number(value) for key, value in place.items()}
    SubElement(parent, "line", {**values, "class": style})


def label(parent: Element, x: float, y: float, text: str, style: str = "") -> None:
    attributes = {"x": number(x), "y": number(y)}
    if style:
        attributes["class"] = style
    SubElement(parent, "text", attributes).text = plain(text)


def number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def cells(text: str) -> int:
    """How many characters wide `text` is once it is drawn."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in plain(text))


def fitted(text: str, room: int) -> str:
    """`text` in at most `room` cells: what is cut out is its middle, as names differ at both ends.

    What drives a terminal is already taken out.
    """
    text = plain(text)
    if cells(text) <= room:
        return text
    head, tail = text[: len(text) // 2], text[len(text) // 2 :]
    while cells(head) + cells(tail) > max(room, 1) - 1:
        if cells(head) >= cells(tail):
            head = head[:-1]
        else:
            tail = tail[1:]
    return f"{head}…{tail}"
