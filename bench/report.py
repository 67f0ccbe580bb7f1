# SPDX-License-Identifier: LGPL-2.1-or-later
"""From bench/results.json to words and a picture: measured, and ratios to the first and the floor.

.venv/bin/python -m bench.report
"""

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence

from bench import daemon, rows
from bench.figures import FLOOR, Load, Measured, Phases, Way, blackout, table
from bench.rows import BLACKOUT, RESULTS, Results, Row
from liveupdated.ctl.plot import chart, svg

ORDER = "reboot-firmware reboot kexec soft-reboot criu-script liveupdated floor".split()
STYLES = {"liveupdated": "carried", "criu-script": "carried", "floor": "predicted"}
OTHER_STYLE = "restarted"


WHY_MISSED = """\
By what the figures are missed, where they are. All was measured on 2026-11-30: in one run of an
hour, and, of one service, two rounds more of a bare kexec and of ours on disk after it. liveupdated
changed in between. In the hour's run udev went before all others in the boot of a jump, which is
what dozens of restores need, and took it from a single one; in the two rounds more it has a quarter
of what the restores have together. Tried by turns in one machine, besides, that is 16.5 and 17.3 s
where it was 20.1 and 20.7. In all of these the restore took 4.6 to 5.4 s with the quarter, and 5.2
to 9.0 before; one of the two rounds more, of 21.3 s, had a slow dump. So the medians of one service
are of two states, those of ten of the first, and with fifty services both states are the same. One
round each is all there is of most loads, and the machine's own speed goes up and down by a tenth.

Where one service's time goes, of 17 s in a run of its own (the host's clock beside the console):

| part | seconds |
| --- | ---: |
| dump of what has changed since it was written ahead | 1.4 |
| logind's request, the commit, the services' stop | 1.0 |
| systemd-shutdown | 1.4 |
| the checksum of kexec's purgatory, and the kernel's unpacking | 2.0 |
| the kernel | 2.2 |
| systemd until it begins units | 2.1 |
| until the restore worker is executed, and until Python runs its first line | 2.8 |
| claim, launcher, the unit's start | 1.4 |
| CRIU; its memory alone 1.9 | 2.8 |

CRIU's look at the kernel, up to 0.9 s of its 2.8, goes on beside the worker's start since.

- To a bare kexec and a reboot, which lose the memory: what they spend on the stop in order and on
  the rest of the boot is a little less than ours on writing the memory and on CRIU and Python, each
  of whose starts costs twenty times here what it costs on hardware: of the 3.3 s from the worker's
  fork to its first line 2.5 are processor time, of which a warm start takes 0.1.
- To the firmware: QEMU's takes three seconds. Hardware's takes minutes, and then this is another
  ratio.
- To the floor: its init answers at once. Ours is systemd's: generators, the first units, the file
  systems, the network; and CRIU, where that has dd.
- Fifty services: each costs CRIU half a second of a processor for the dump and as much for the
  restore, and two processors share them. A script that dumps and restores one after the other,
  without units, filters, digests or the journal, takes 33 s where ours took 45 and 52. In the runs
  before it was 50 to 69, with a client that asked each of fifty only every 2.5 s; by that client 58
  and 59 on this day, and 42 in one jump after the changes. Until then units without mounts of their
  own were given some, the network came last of all, and the restore worker looked too dearly for
  who is back.
- pmem beside disk: the disk here is the host's page cache, so memory is hardly quicker.
"""


_OF_THE_DAEMON = """\
Of `results-daemon.json`, on the machine itself, without emulation. CPU time is user and system."""


def sorted_out(found: Sequence[Row]) -> Measured:
    """By load, then by way in their order, then by phase as they came."""
    made: dict[Load, dict[Way, dict[str, list[float]]]] = {}
    for row in sorted(found, key=lambda row: (row.mib, row.services, ORDER.index(row.way))):
        ways = made.setdefault(Load(row.mib, row.services), {})
        phases = ways.setdefault(Way(row.way, row.carrier), {})
        phases.setdefault(row.phase, []).append(row.seconds)
    return made


def write(results: Results) -> None:
    RESULTS.with_suffix(".md").write_text(text(results))
    RESULTS.with_suffix(".svg").write_text(svg.document(chart.draw(picture(results))))


def text(results: Results) -> str:
    measured = sorted_out(results.rows)
    rounds = 1 + max(row.round for row in results.rows)
    lines = [
        "# The blackout of a live update, beside other ways to a fresh system",
        "",
        f"Written by `make bench` from `results.json`. Rounds: up to {rounds}, the ways by turns.",
        f"{results.machine}.",
        "Times in seconds, as a client outside the machine sees them, from the last answer before",
        "to the first after. It asks every 10 ms, at least every 50 while nobody answers; of many",
        "services one after the other. What is not carried has lost its memory then.",
        "",
        "![](results.svg)",
    ]
    for load, ways in measured.items():
        lines += ["", f"## {load}", "", *_blackouts(ways), "", *_phases(ways)]
    costs = [daemon.Row(**row) for row in json.loads(daemon.RESULTS.read_text())]
    lines += ["", "## The daemon, the command, the restore worker", "", _OF_THE_DAEMON]
    lines += ["", daemon.table(costs)]
    lines += ["", "## Figures to reach", "", *table(measured), "", WHY_MISSED]
    if results.failures:
        lines += ["## What could not be measured", ""]
        lines += [f"- {failure}" for failure in results.failures] + [""]
    return "\n".join(lines)


def _blackouts(ways: Mapping[Way, Phases]) -> Iterator[str]:
    first = next(iter(ways))
    floor = blackout(ways, FLOOR)
    yield f"| way | blackout | from .. to | to {first} | to the floor |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for way, phases in ways.items():
        median = statistics.median(phases[BLACKOUT])
        span = f"{min(phases[BLACKOUT]):.1f} .. {max(phases[BLACKOUT]):.1f}"
        ratio = median / statistics.median(ways[first][BLACKOUT])
        to_floor = f"{median / floor:.2f}" if floor else ""
        yield f"| {way} | {median:.2f} | {span} | {ratio:.2f} | {to_floor} |"


def _phases(ways: Mapping[Way, Phases]) -> Iterator[str]:
    """A line a phase, with the ratio to the first way that has it."""
    yield "| phase | way | median | ratio |"
    yield "| --- | --- | ---: | ---: |"
    names = dict.fromkeys(name for phases in ways.values() for name in phases if name != BLACKOUT)
    for name in names:
        having = {way: statistics.median(p[name]) for way, p in ways.items() if name in p}
        first = next(iter(having.values()))
        for way, median in having.items():
            ratio = f"{median / first:.2f}" if first and len(having) > 1 else ""
            yield f"| {name} | {way} | {median:.2f} | {ratio} |"


def picture(results: Results) -> chart.Chart:
    measured = sorted_out(results.rows)
    sections = [
        chart.Section(str(load), [_bar(way, phases[BLACKOUT]) for way, phases in ways.items()])
        for load, ways in measured.items()
    ]
    longest = max(row.seconds for row in results.rows if row.phase == BLACKOUT)
    return chart.Chart(
        title="Blackout, as a client outside sees it",
        lines=["median; less is better"],
        sections=sections,
        length_us=round(longest * 1e6),
        legend=(
            ("carried", chart.Shape.BAR, "memory carried"),
            ("restarted", chart.Shape.BAR, "memory lost"),
            ("predicted", chart.Shape.BAR, "nothing but the jump and the bytes"),
        ),
    )


def _bar(way: Way, seconds: list[float]) -> chart.Row:
    median = statistics.median(seconds)
    bar = chart.Bar(0, round(median * 1e6), STYLES.get(way.name, OTHER_STYLE))
    return chart.Row(str(way), str(way), "way", [bar], f"{median:.1f} s")


if __name__ == "__main__":
    write(rows.read())
