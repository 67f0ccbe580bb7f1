# SPDX-License-Identifier: LGPL-2.1-or-later
"""The comparison of blackouts, as far as it goes without a machine: its client, and its report."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest

from bench import daemon, report
from bench.blackout import WAYS
from bench.client import Answer, Client, longest_gap
from bench.load import GUEST
from bench.rows import BLACKOUT, Results, Row
from bench.ways import FIRMWARE

LIMIT_S = 60.0


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@contextmanager
def holder(port: int) -> Iterator[None]:
    """The program that runs in the guest."""
    process = subprocess.Popen([sys.executable, str(GUEST / "holder"), str(port)])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_the_client_sees_how_long_a_service_was_away(port: int) -> None:
    with Client([port]) as client:
        with holder(port):
            before = client.wait_for_all(LIMIT_S)[port]
            start = time.monotonic()
            assert client.wait_for_all(LIMIT_S)[port] == before
        time.sleep(1)
        with holder(port):
            after = client.wait_for_all(LIMIT_S)[port]
            gap = longest_gap(client.since(start))
    assert before.split()[1] == after.split()[1] == "0", "it holds nothing unasked"
    assert (gap.before.text, gap.after.text) == (before, after)
    assert gap.seconds >= 1


def test_a_service_that_never_answers_is_named(port: int) -> None:
    with Client([port]) as client, pytest.raises(TimeoutError, match=str(port)):
        client.wait_for_all(0.2)


def test_the_gap_is_that_of_the_service_that_was_away_longest() -> None:
    moments = [(0, 1), (0.1, 2), (1, 2), (5, 1), (5.1, 2)]
    gap = longest_gap([Answer(at, port, "") for at, port in moments])
    assert (gap.before.port, gap.seconds) == (1, 5)


def test_every_way_has_its_place_in_the_report() -> None:
    assert {way.name for way in (FIRMWARE, *WAYS)} <= set(report.ORDER)


def row(way: str, seconds: float, phase: str = BLACKOUT, mib: int = 256, services: int = 1) -> Row:
    return Row(way, "disk" * (way == "liveupdated"), mib, services, 0, phase, seconds)


def test_the_report_has_medians_ratios_and_what_is_missed() -> None:
    found = [row("kexec", 20), row("reboot", 40), row("reboot", 60), row("reboot", 50)]
    found += [
        row("liveupdated", 25),
        row("liveupdated", 30, services=10),
        row("kexec", 3, "kernel"),
    ]
    said = report.text(Results("2 cores", found))
    assert said.index("| reboot | 50.00 | 40.0 .. 60.0 | 1.00 |") < said.index("| kexec | 20.00 |")
    assert "| liveupdated (disk) | 25.00 | 25.0 .. 25.0 | 0.50 |" in said
    assert "| kernel | kexec | 3.00 |" in said
    assert "256 MiB in 1 service, to kexec | 1 | 1.25 | missed by 5.0 s |" in said
    assert "256 MiB in 1 service, to reboot | 0.9 | 0.50 | reached |" in said
    assert "to reboot-firmware | 0.5 | | not measured |" in said
    assert "to liveupdated with 256 MiB in 1 service | 1.3 | 1.20 | reached |" in said


def test_the_report_has_the_growth_and_what_the_daemon_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = [
        daemon.Row(0, "RSS", daemon.DAEMON, 31.5, "MiB"),
        daemon.Row(0, "GetAll, round trip", daemon.DAEMON, 2.2, "ms"),
        daemon.Row(0, "GetAll, round trip", "bare dbus-next", 2.0, "ms"),
    ]
    monkeypatch.setattr(daemon, "RESULTS", tmp_path / "daemon.json")
    daemon.RESULTS.write_text(json.dumps([asdict(cost) for cost in costs]))
    found = [
        *(row("liveupdated", 10, mib=16), row("floor", 5, mib=16)),
        *(row("liveupdated", 16, mib=1024), row("floor", 9, mib=1024)),
    ]
    said = report.text(Results("2 cores", found))
    assert "which is dd's time | 1.25 | 1.50 | missed by 1.0 s |" in said
    assert "| RSS, liveupdated | 30 MiB | 31.5 MiB | missed by 1.5 MiB |" in said
    assert "| GetAll, round trip, liveupdated, to bare dbus-next | 1.2 | 1.1 | reached |" in said
    assert "| CPU to the first restore, its own | 60 | | not measured |" in said
    assert "| GetAll, round trip | liveupdated | 2.2 ms |" in said
