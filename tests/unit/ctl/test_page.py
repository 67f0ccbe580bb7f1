# SPDX-License-Identifier: LGPL-2.1-or-later
"""The report in HTML, as a browser reads it."""

import time
from html.parser import HTMLParser

import pytest

from liveupdated.ctl.plot import page
from liveupdated.session import Session

from ..timeline import example
from . import real
from .drawing import outside

HOSTILE = "</td></table></style><script>alert(1)</script><img src=x onerror=y>&lt;\x1b\u202e"


class Page(HTMLParser):
    """Tables as rows of cells, and what elements and attributes there are."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.tables: list[list[list[str]]] = []
        self.items: list[str] = []
        self._open = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self._open = tag
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "li":
            self.items.append("")

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open in ("td", "th"):
            self.tables[-1][-1][-1] += data
        elif self._open == "li":
            self.items[-1] += data


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def report(session: Session) -> str:
    return page.report(*real.record(session))


def test_every_workload_with_verdict_outcome_and_reason() -> None:
    session = real.every_kind()
    head, *rows = Page(report(session)).tables[0]
    assert head == ["Workload", "Verdict", "Outcome", "Frozen", "Size", "Reason"]
    assert [row[:3] for row in rows] == [[w.id, w.verdict, w.outcome] for w in session.workloads]
    redis = next(row for row in rows if row[0] == "services:redis-server.service")
    assert redis[3:5] == ["2 min 8 s", "263 MiB"]
    assert redis[5].startswith("memory carried by CRIU, as /usr/lib/liveupdated/workloads.d/")
    alice = next(row for row in rows if row[0] == "sessions:alice:t-timer.timer")
    assert alice[2:] == ["failed", "", "", "the user manager of alice is None"]


def test_phases_with_their_times_and_notes() -> None:
    found = Page(report(real.every_kind()))
    head, *rows = found.tables[1]
    assert head == ["Phase", "Start", "Time", "Share"]
    assert rows[0] == ["plan", "+0 s", "1 min 29 s", "16.6%"]
    assert rows[4][0] == "request"
    assert len(found.items) == 3
    assert found.items[1].endswith("the user manager of alice is None")
    assert "may be off by 1 s" in found.items[2]


def test_the_picture_is_in_it_and_nothing_is_fetched() -> None:
    text = report(real.ten_workloads())
    found = Page(text)
    assert "svg" in found.tags
    assert not found.tags & {"script", "link", "img", "iframe", "object"}
    assert outside(text) == []
    assert text.count("prefers-color-scheme:dark") == 2
    assert "default-src 'none'" in text


def test_names_are_shown_and_not_obeyed() -> None:
    session = example.example()
    plain = Page(report(session))
    session.reason = session.origin.release = HOSTILE
    session.notes = [HOSTILE]
    for workload in session.workloads:
        workload.id = workload.reason = workload.outcome_reason = HOSTILE
    for mark in session.marks:
        mark.workload = mark.workload and HOSTILE
    hostile = Page(report(session))
    assert hostile.tags == plain.tags
    assert hostile.attributes == plain.attributes
    shown = HOSTILE.replace("\x1b", "\\x1b").replace("\u202e", "\\x202e")
    assert hostile.tables[0][1][0] == shown
    assert hostile.items[0] == shown


def test_a_session_that_has_only_begun() -> None:
    found = Page(report(example.empty()))
    assert found.tables == []
    assert found.items == []
