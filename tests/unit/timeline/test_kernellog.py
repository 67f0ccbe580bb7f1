# SPDX-License-Identifier: LGPL-2.1-or-later
import json

import pytest

from liveupdated.timeline import kernellog
from liveupdated.timeline.kernellog import Record


def entry(**fields: object) -> str:
    return json.dumps({"PRIORITY": "5", "_SOURCE_MONOTONIC_TIMESTAMP": "7"} | fields)


def test_levels_come_from_the_prefix() -> None:
    text = "30,12,5,-;from a daemon\n SUBSYSTEM=x\n<4>[    1.000002] raw\n[    1.5] junk\n"
    assert kernellog.parse(text) == [
        Record(5, "from a daemon", 6, 12),
        Record(1_000_002, "raw", 4),
    ]


def test_a_record_is_shown_as_dmesg_shows_it() -> None:
    assert str(Record(104_272, "smp: x")) == "[    0.104272] smp: x"


def test_lines_of_the_journal() -> None:
    text = "\n".join(
        [
            entry(MESSAGE="a", SYSLOG_IDENTIFIER="kernel"),
            entry(MESSAGE=[0x62, 0xFF]),
            entry(MESSAGE="systemd talks", SYSLOG_IDENTIFIER="systemd"),
            entry(MESSAGE=None),
            '{"MESSAGE": "without its time"}',
            "[]",
            "no json",
        ]
    )
    assert kernellog.parse_journal(text) == [Record(7, "a", 5), Record(7, "b�", 5)]


@pytest.mark.parametrize(
    ("kmsg", "journal", "source", "count"),
    [
        ("6,0,1,-;a\n", [], "/dev/kmsg", 1),
        ("6,9,900,-;late\n", [Record(0, "a"), Record(900, "late")], "journal", 2),
        ("6,9,900,-;late\n", [Record(901, "later")], "/dev/kmsg", 1),
        ("", [Record(0, "a")], "journal", 1),
        ("", [], "", 0),
    ],
)
def test_whichever_source_has_its_beginning(
    kmsg: str, journal: list[Record], source: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernellog, "_kmsg_or_why", lambda: (kmsg, "" if kmsg else "not permitted"))
    monkeypatch.setattr(kernellog, "_journal", lambda: journal)
    log = kernellog.read()
    assert (log.source, len(log.records)) == (source, count)
    assert bool(log.problem) == (not source or log.records[0].text.startswith("late"))
    if not source:
        assert "not permitted" in log.problem
