# SPDX-License-Identifier: LGPL-2.1-or-later
import time
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveupdated.ctl import brief, render
from liveupdated.ctl.shapes import Candidate, Inhibitor, Status

from . import example


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def status(shape: Status) -> list[str]:
    return [click.unstyle(line) for line in brief.status(shape, example.NOW)]


@pytest.fixture
def text(capsys: pytest.CaptureFixture[str], utc: None) -> Any:
    """What somebody reads in a pipe, line by line."""

    def printed(what: Any) -> list[str]:
        render.show(what)
        lines = capsys.readouterr().out.splitlines()
        assert lines == [line.rstrip() for line in lines]
        assert all(len(line) < 200 for line in lines)
        return lines

    return printed


def test_status_says_it_in_a_few_lines(utc: None) -> None:
    assert status(example.status()) == [
        "State:         idle",
        "Running:       deb-6.12.57",
        "Staged:        none",
        "Reboot:        required, live-update will do",
        "Next update:   2026-11-18 13:06:40 UTC (in 2 h)",
        "Last session:  degraded, 6.12.57+deb13-amd64 → 7.3.4+deb13-amd64, "
        "2 min 5 s ago (01234567)",
    ]


def test_status_never_takes_more_than_ten_lines(utc: None) -> None:
    shape = example.status()
    held = [Inhibitor(who=f"w{i}", why="busy", mode="block", uid=0, pid=1) for i in range(50)]
    shape["inhibitors"] = held
    lines = status(shape)
    assert len(lines) <= 10
    assert lines[-1] == "Inhibitors:    w2 and 47 more"
    shape["inhibitors"] = held[:1]
    assert status(shape)[-1] == "Inhibitor:     w0 (block): busy"


def test_a_host_without_history(utc: None) -> None:
    shape = example.status()
    shape["last_session"] = None
    shape["next_update_us"] = 0
    shape["reboot_required"] = False
    lines = status(shape)
    assert lines[3:] == [
        "Reboot:        not required",
        "Next update:   not scheduled",
        "Last session:  none",
    ]


def test_plan_counts_what_every_boot_starts(text: Any) -> None:
    lines = text(render.plan(example.plan()))
    assert lines[:7] == [
        "Kernel:     7.3.4+deb13-amd64 (deb-7.3.4)",
        "Rung:       live-update: another kernel is wanted",
        "Blackout:   14.5 s, predicted",
        "To save:    34.0 MiB, 5.0 GiB free",
        "Carrier:    disk: not pmem: nothing is mounted",
        "Stop:       quick",
        "Workloads:  1 carried, 2 restarted, 1 lost",
    ]
    assert not any("cron.service" in line for line in lines)
    assert lines[-1] == "and 2 services that come with the boot: restarted, memory lost (--all)"


def test_plan_shows_everything_when_asked(text: Any) -> None:
    lines = text(render.plan(example.plan(), everything=True))
    assert any(line.startswith("cron.service") for line in lines)
    assert "--all" not in "\n".join(lines)


def test_plan_shows_what_was_started_by_hand_and_what_is_lost_by_agreement(text: Any) -> None:
    shape = example.plan()
    for reason in (
        "started by hand, boot alone would not start it: started again",
        "its memory is lost, as was agreed to: a socket of another host",
    ):
        shape["workloads"] = [example.workload("a.service")]
        shape["workloads"][0]["reason"] = reason
        assert any(line.startswith("a.service") for line in text(render.plan(shape)))


def test_plan_names_its_blockers(text: Any) -> None:
    lines = text(render.plan(example.plan("screen would be lost", "no room")))
    assert "Blocked:    screen would be lost" in lines
    assert "Blocked:    no room" in lines


def test_plan_proposes_candidates_with_the_command_to_type(text: Any) -> None:
    shape = example.plan()
    command = "liveupdatectl carry cron.service"
    shape["candidates"] = [Candidate(name="cron.service", why="up for 3 days", command=command)]
    assert text(render.plan(shape))[-2:] == [
        "These could be carried with their memory:",
        "  liveupdatectl carry cron.service  # up for 3 days",
    ]


def test_kernels_are_marked(text: Any) -> None:
    shape = [
        example.kernel("7.3.4", staged=True),
        example.kernel("7.2.9", blocked=True),
        example.kernel("6.12.57", running=True),
    ]
    lines = text(render.kernels(shape))
    assert [line.split()[0] for line in lines[1:]] == ["→", "deb-7.2.9", "●"]
    assert lines[1].endswith("staged")
    assert lines[2].endswith("blocked")
    assert lines[3].endswith("running")


def test_one_session_tells_verdict_and_outcome_of_each_workload(text: Any) -> None:
    lines = text(render.session(example.session_detail()))
    assert "State:     degraded: one workload started fresh" in lines
    assert "Note:      the clock was set" in lines
    assert "Blackout:  14.5 s, 15.0 s predicted" in lines
    table = lines[lines.index("") + 1 :]
    assert table[0].split() == ["Workload", "Verdict", "Outcome", "Frozen", "Reason"]
    words = ["redis-server.service", "carried", "carried", "14.5", "s", "opted", "in"]
    assert table[1].split() == words
    assert table[2].split(maxsplit=3)[1:3] == ["carried", "restarted"]
    assert table[2].endswith("criu: pid 812 was taken")


def test_the_list_of_sessions(text: Any) -> None:
    lines = text(render.sessions([example.session()]))
    assert lines[1].startswith("01234567  2026-11-18 11:04:35 UTC  operator")
    assert lines[1].endswith("degraded  1 carried, 1 restarted")


def test_the_timeline_with_its_bars(text: Any) -> None:
    assert text(render.timeline(example.timeline())) == [
        "Phase                                    Start    Time",
        "save                                      +0 s  1.00 s  ████",
        "stop+kexec                             +1.00 s  3.00 s      ████████████",
        "  request                              +1.00 s   40 ms      ▏",
        "kernel                                 +4.00 s  2.00 s                  ████████",
        "  smp                                  +4.50 s  500 ms                    ██",
        "restore                                +6.00 s  2.00 s                          ████████",
        "blackout service:redis-server.service  +100 ms  7.50 s  ██████████████████████████████",
        "  save                                 +100 ms  800 ms  ███▎",
        "",
        "Session:   0123456789abcdef0123456789abcdef",
        "Whole:     8.00 s",
        "Blackout:  7.50 s, 8.00 s predicted",
        "Note:      spans across the jump may be off by 1 s",
    ]


def test_nothing_to_show_is_said(text: Any) -> None:
    empty = example.timeline()
    empty["phases"] = []
    assert text(render.timeline(empty)) == ["the session has no marks"]
    assert text(render.sessions([])) == ["there was no live update yet"]
    assert text(render.workloads([])) == ["no workload was found"]
    assert text(render.kernels([])) == ["no kernel was found"]


def test_a_hostile_name_is_shown_and_not_obeyed(text: Any) -> None:
    rows = [example.workload("\x1b[2J[red]x\nfake.service", "lost")]
    lines = text(render.workloads(rows))
    assert lines[1].startswith("\\x1b[2J[red]x\\x0afake.service  lost")


@given(
    whole=st.integers(1, 10**10),
    start=st.integers(0, 10**10),
    length=st.integers(0, 10**10),
    cells=st.integers(1, 80),
)
def test_a_bar_is_never_empty_and_never_too_long(
    whole: int, start: int, length: int, cells: int
) -> None:
    start = min(start, whole)
    drawn = render.bar(start, min(length, whole - start), whole, cells)
    assert drawn.strip()
    assert len(drawn) <= cells
