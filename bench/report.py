# SPDX-License-Identifier: LGPL-2.1-or-later
"""From bench/results.json to words and a picture: medians, and ratios to the first and the floor.

.venv/bin/python -m bench.report
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bench import rows
from bench.rows import BLACKOUT, RESULTS, Results, Row
from liveupdated.ctl.plot import chart, svg

ORDER = "reboot-firmware reboot kexec soft-reboot criu-script liveupdated floor".split()
STYLES = {"liveupdated": "carried", "criu-script": "carried", "floor": "predicted"}
OTHER_STYLE = "restarted"
FLOOR = "floor"


class Load(NamedTuple):
    mib: int
    services: int


class Way(NamedTuple):
    name: str
    carrier: str

    def __str__(self) -> str:
        return f"{self.name} ({self.carrier})" if self.carrier else self.name


Medians = Mapping[Load, Mapping[Way, Mapping[str, list[float]]]]
"""The measurements of each phase, in seconds."""


@dataclass(frozen=True)
class Figure:
    """To be reached: the blackout of liveupdated is at most `limit` times the other one's."""

    load: Load
    name: str
    limit: float
    to_load: Load | None = None
    """The other one's, if it is not the same."""


FIGURES = (
    Figure(Load(256, 1), "kexec", 1.0),
    Figure(Load(256, 1), "reboot-firmware", 0.5),
    Figure(Load(256, 1), "reboot", 0.9),
    Figure(Load(256, 1), FLOOR, 1.5),
    Figure(Load(256, 10), "liveupdated", 1.3, to_load=Load(256, 1)),
)


WHY_MISSED = """\
What the figures are missed by, where they are:

- To a bare kexec and a reboot, which lose the memory: it is written while the service stands still,
  and read again by CRIU, after a launcher in Python has checked it. Each start of a process takes
  0.1 to 0.3 s under emulation, one of Python 1 s; hardware takes a twentieth of that. Against it
  stand what a jump of ours leaves out: the stop in order, and waiting for the rest of the boot.
- To the firmware: QEMU's takes a second. Hardware's takes minutes, and then this is another ratio.
- To the floor: its init answers at once. Ours is systemd's: generators, the first units, the file
  systems, the network.
- Ten services to one: ten launchers and ten times CRIU, on two processors.
- pmem to disk: the disk here is the host's page cache, so memory is not quicker, and udev finds the
  region's device later than the root file system.
"""


def sorted_out(found: Sequence[Row]) -> Medians:
    """By load, then by way in their order, then by phase as they came."""
    made: dict[Load, dict[Way, dict[str, list[float]]]] = {}
    for row in sorted(found, key=lambda row: (row.mib, row.services, ORDER.index(row.way))):
        ways = made.setdefault(Load(row.mib, row.services), {})
        phases = ways.setdefault(Way(row.way, row.carrier), {})
        phases.setdefault(row.phase, []).append(row.seconds)
    return made


def blackout(ways: Mapping[Way, Mapping[str, list[float]]], name: str) -> float | None:
    """The median of the way of that name, by its best carrier; None if it was not measured."""
    found = [statistics.median(p[BLACKOUT]) for way, p in ways.items() if way.name == name]
    return min(found, default=None)


def write(results: Results) -> None:
    RESULTS.with_suffix(".md").write_text(text(results))
    RESULTS.with_suffix(".svg").write_text(svg.document(chart.draw(picture(results))))


def text(results: Results) -> str:
    medians = sorted_out(results.rows)
    rounds = 1 + max(row.round for row in results.rows)
    lines = [
        "# The blackout of a live update, beside other ways to a fresh system",
        "",
        f"Written by `make bench` from `results.json`. Rounds: up to {rounds}, the ways by turns.",
        f"{results.machine}.",
        "Times in seconds, as a client outside the machine sees them, which asks every 10 ms: from",
        "the last answer before to the first after. What is not carried has lost its memory then.",
        "",
        "![](results.svg)",
    ]
    for load, ways in medians.items():
        lines += ["", f"## {_words(load)}", "", *_blackouts(ways), "", *_phases(ways)]
    lines += ["", "## Figures to reach", "", *_figures(medians), "", WHY_MISSED]
    if results.failures:
        lines += ["## What could not be measured", ""]
        lines += [f"- {failure}" for failure in results.failures] + [""]
    return "\n".join(lines)


def _words(load: Load) -> str:
    return f"{load.mib} MiB in {load.services} service" + "s" * (load.services > 1)


def _blackouts(ways: Mapping[Way, Mapping[str, list[float]]]) -> Iterator[str]:
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


def _phases(ways: Mapping[Way, Mapping[str, list[float]]]) -> Iterator[str]:
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


def _figures(medians: Medians) -> Iterator[str]:
    yield "| liveupdated, its best carrier | at most | measured | |"
    yield "| --- | ---: | ---: | --- |"
    for figure in FIGURES:
        to_load = figure.to_load or figure.load
        ours = blackout(medians.get(figure.load, {}), "liveupdated")
        other = blackout(medians.get(to_load, {}), figure.name)
        what = f"{_words(figure.load)}, to {figure.name}"
        what += f" with {_words(to_load)}" * (to_load != figure.load)
        if ours is None or other is None:
            yield f"| {what} | {figure.limit:.1f} | | not measured |"
            continue
        ratio = ours / other
        missed = f"missed by {ours - figure.limit * other:.1f} s"
        verdict = "reached" if ratio <= figure.limit else missed
        yield f"| {what} | {figure.limit:.1f} | {ratio:.2f} | {verdict} |"


def picture(results: Results) -> chart.Chart:
    medians = sorted_out(results.rows)
    sections = [
        chart.Section(_words(load), [_bar(way, phases[BLACKOUT]) for way, phases in ways.items()])
        for load, ways in medians.items()
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
