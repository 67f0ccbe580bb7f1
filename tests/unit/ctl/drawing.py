# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is to be seen in a picture, read from its file as a viewer reads it."""

import re
from dataclasses import dataclass
from itertools import combinations
from xml.etree import ElementTree

from liveupdated.ctl.plot import svg

SVG = "{http://www.w3.org/2000/svg}"
_TITLE_CELL = svg.CELL / 11 * 15
_SECONDS = {"min": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6}


@dataclass(frozen=True)
class Bar:
    """A span of the axis in seconds."""

    style: str
    begin: float
    end: float


class Picture:
    """A parsed file."""

    def __init__(self, text: str) -> None:
        self.root = ElementTree.fromstring(text)  # noqa: S314 - our own
        self.width = float(self.root.get("width", "0"))
        self.height = float(self.root.get("height", "0"))

    @property
    def texts(self) -> list[str]:
        return [element.text or "" for element in self.root.iter(f"{SVG}text")]

    def rows(self, style: str) -> list[str]:
        """Names of the rows of this kind, from top to bottom."""
        return [
            g.get("data-name", "") for g in self.root.iter(f"{SVG}g") if g.get("class") == style
        ]

    def row(self, name: str) -> ElementTree.Element:
        [found] = [g for g in self.root.iter(f"{SVG}g") if g.get("data-name") == name]
        return found

    def note(self, name: str) -> str:
        return [text.text or "" for text in self.row(name).iter(f"{SVG}text")][1]

    def tip(self, name: str) -> str:
        return self.row(name).findtext(f"{SVG}title") or ""

    def bars(self, name: str) -> list[Bar]:
        return [
            Bar(
                style=rect.get("class", ""),
                begin=self.seconds(float(rect.get("x", "nan"))),
                end=self.seconds(float(rect.get("x", "nan")) + float(rect.get("width", "nan"))),
            )
            for rect in self.row(name).iter(f"{SVG}rect")
            if rect.get("class") != "ground"
        ]

    def seconds(self, x: float) -> float:
        """What the axis says of this place: between its first and its last tick, or beyond."""
        ticks = []
        for text in self.row("axis").iter(f"{SVG}text"):
            value, unit = (text.text or "").split(" ")
            ticks.append((float(text.get("x", "nan")), float(value) * _SECONDS[unit]))
        (left, first), (right, last) = min(ticks), max(ticks)
        return first + (x - left) / (right - left) * (last - first)

    @property
    def pixel(self) -> float:
        """Its seconds."""
        return self.seconds(1) - self.seconds(0)

    def misplaced(self) -> list[str]:
        """Texts that leave the picture, or lie upon one another or upon a bar of their row."""
        boxes = [(text.text or "", *_extent(text)) for text in self.root.iter(f"{SVG}text")]
        wrong = [
            text
            for text, left, right, y in boxes
            if left < 0 or right > self.width + 0.1 or not 0 < y <= self.height
        ]
        wrong += [
            f"{one[0]} / {other[0]}"
            for one, other in combinations(boxes, 2)
            if abs(one[3] - other[3]) < 11 and one[1] < other[2] and other[1] < one[2]
        ]
        for group in self.root.iter(f"{SVG}g"):
            bars = [r for r in group.iter(f"{SVG}rect") if r.get("class") != "ground"]
            for text in group.iter(f"{SVG}text"):
                left, right, _ = _extent(text)
                for bar in bars:
                    x = float(bar.get("x", "nan"))
                    if left < x + float(bar.get("width", "nan")) and x < right:
                        wrong.append(f"{text.text} on its bar")
        return wrong


def _extent(text: ElementTree.Element) -> tuple[float, float, float]:
    """From where to where, and at which height."""
    style = text.get("class", "").split()
    x, y = float(text.get("x", "nan")), float(text.get("y", "nan"))
    width = svg.cells(text.text or "") * (_TITLE_CELL if "title" in style else svg.CELL)
    left = x - width / 2 if "middle" in style else x
    return left, left + width, y


def outside(text: str) -> list[str]:
    """What a file names that lies outside of it; the names of its languages are no such thing."""
    links = re.findall(r"(?:\b(?:href|src)=|url\(|@import)[^>;]*", text)
    links += re.findall(r"\w+://[^\s\"'<]*", text)
    return [link for link in links if link != "http://www.w3.org/2000/svg"]
