# SPDX-License-Identifier: LGPL-2.1-or-later
"""`python -m bench.report`: results.md and results.svg from results.json: medians, and ratios
within the run."""

import json
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from liveupdated.ctl import units
from liveupdated.ctl.plot import chart, svg
from liveupdated.ctl.plot.chart import Bar, Chart, Row, Section

HERE = Path(__file__).parent
BASE = ("reboot-firmware", 0, 1)

Key = tuple[str, int, int]
"""Way, MiB in each service, number of services."""
Medians = dict[Key, dict[str, float]]


def write(results: Path) -> None:
    """Write results.md and results.svg beside results.json."""
    rows: list[dict[str, Any]] = json.loads(results.read_text())
    medians = by_key(rows)
    rounds = max(row["round"] for row in rows)
    results.with_suffix(".md").write_text(text(medians, rounds))
    picture = chart.draw(bars(medians, rounds))
    results.with_suffix(".svg").write_text(svg.document(picture))


def by_key(rows: list[dict[str, Any]]) -> Medians:
    """The median seconds of each phase."""
    seconds: dict[Key, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        seconds[row["way"], row["mib"], row["services"]][row["phase"]].append(row["seconds"])
    return {
        key: {phase: median(values) for phase, values in phases.items()}
        for key, phases in seconds.items()
    }


def bars(medians: Medians, rounds: int) -> Chart:
    """A bar for each way, the longest blackout first."""
    lost: list[Row] = []
    kept: list[Row] = []
    for key in sorted(medians, key=lambda key: -medians[key]["blackout"]):
        way, mib, services = key
        us = round(medians[key]["blackout"] * 1e6)
        what = f"{mib} MiB" + (f" x {services} services" if services > 1 else "")
        style = "confirmed" if mib else "degraded"
        row = Row(
            "/".join(map(str, key)),
            f"{way}, {what}" if mib else way,
            "session",
            [Bar(0, us, style)],
            units.duration(us),
        )
        (kept if mib else lost).append(row)
    return Chart(
        title="How long nobody answers, as a client outside the machine sees it",
        lines=[f"medians of {rounds} rounds in one emulated machine: compare, do not quote"],
        sections=[Section("memory lost", lost), Section("memory kept", kept)],
        length_us=max(bar.length for row in [*lost, *kept] for bar in row.bars),
    )


def text(medians: Medians, rounds: int) -> str:
    """The tables as Markdown."""
    lines = [
        "# Blackout, as a client outside the machine sees it",
        "",
        f"Medians of {rounds} rounds in one virtual machine, emulated on two cores: the ratios",
        "tell something, the seconds little. The client asks each 10 ms.",
        "Written by `make bench` from results.json.",
        "",
        "| way | memory | services | seconds | / reboot-firmware | / kexec | / floor |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for key in sorted(medians, key=lambda key: (key[1], key[2], medians[key]["blackout"])):
        way, mib, services = key
        blackout = medians[key]["blackout"]
        others = (BASE, ("kexec", 0, 1), ("floor", mib, 1))
        ratios = " | ".join(_ratio(blackout, medians.get(other)) for other in others)
        memory = f"{mib} MiB" if mib else "lost"
        lines.append(f"| {way} | {memory} | {services} | {blackout:.1f} | {ratios} |")
    lines += ["", "## liveupdated, phase by phase", ""]
    lines += _phases({key: each for key, each in medians.items() if key[0] == "liveupdated"})
    return "\n".join(lines) + "\n"


def _ratio(seconds: float, other: dict[str, float] | None) -> str:
    return f"{seconds / other['blackout']:.2f}" if other else ""


def _phases(medians: Medians) -> list[str]:
    names = list(dict.fromkeys(phase for phases in medians.values() for phase in phases))
    heads = [f"{mib} MiB x {services}" for _, mib, services in medians]
    return [
        f"| phase | {' | '.join(heads)} |",
        f"| --- |{' --- |' * len(heads)}",
        *(
            f"| {name} | {' | '.join(_seconds(phases.get(name)) for phases in medians.values())} |"
            for name in names
        ),
    ]


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    write(HERE / "results.json")
