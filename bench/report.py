# SPDX-License-Identifier: LGPL-2.1-or-later
"""`python -m bench.report`: results.md from results.json: medians, and ratios within the run."""

import json
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
BASE = ("reboot-firmware", 0, 1)

Key = tuple[str, int, int]
"""Way, MiB in each service, number of services."""


def write(results: Path) -> None:
    """Write results.md beside results.json."""
    rows: list[dict[str, Any]] = json.loads(results.read_text())
    results.with_suffix(".md").write_text(text(rows))


def text(rows: list[dict[str, Any]]) -> str:
    """The tables as Markdown."""
    seconds: dict[Key, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        seconds[row["way"], row["mib"], row["services"]][row["phase"]].append(row["seconds"])
    medians = {
        key: {phase: median(values) for phase, values in phases.items()}
        for key, phases in seconds.items()
    }
    rounds = max(row["round"] for row in rows)
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


def _phases(medians: dict[Key, dict[str, float]]) -> list[str]:
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
