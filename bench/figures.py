# SPDX-License-Identifier: LGPL-2.1-or-later
"""The figures to reach, and whether they are.

Each is a row of bench/results.md: what, at most how much, how much it is, and by what it is missed.
"""

import json
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from bench import daemon
from bench.rows import BLACKOUT

FLOOR = "floor"
OURS = "liveupdated"


class Load(NamedTuple):
    mib: int
    services: int

    def __str__(self) -> str:
        return f"{self.mib} MiB in {self.services} service" + "s" * (self.services > 1)


class Way(NamedTuple):
    name: str
    carrier: str

    def __str__(self) -> str:
        return f"{self.name} ({self.carrier})" if self.carrier else self.name


Phases = Mapping[str, list[float]]
"""The measurements of each phase, in seconds."""
Measured = Mapping[Load, Mapping[Way, Phases]]


@dataclass(frozen=True)
class Ratio:
    """The blackout of ours is at most `limit` times the other one's."""

    load: Load
    name: str
    limit: float
    to_load: Load | None = None
    """The other one's, if it is not the same."""


@dataclass(frozen=True)
class Growth:
    """From the smaller load to the larger one ours grows at most by `limit` times what `name` does.

    Both are the best carrier's.
    """

    smaller: Load
    larger: Load
    name: str
    limit: float


@dataclass(frozen=True)
class Limit:
    """A measurement of bench/results-daemon.json is at most so much, or so many times `to`."""

    what: str
    of: str
    limit: float
    to: str = ""


ONE = Load(256, 1)
BLACKOUTS = (
    Ratio(ONE, "kexec", 1.0),
    Ratio(ONE, "reboot-firmware", 0.5),
    Ratio(ONE, "reboot", 0.9),
    Ratio(ONE, FLOOR, 1.5),
    Ratio(Load(256, 10), OURS, 1.3, to_load=ONE),
)
# At least 80 % of what dd reaches.
GROWTH = Growth(Load(16, 1), Load(1024, 1), FLOOR, 1.25)
DAEMON = (
    Limit("CPU to the first restore", "its own", 60),
    Limit("RSS", daemon.DAEMON, 30),
    Limit("CPU to the name", daemon.DAEMON, 150),
    Limit(f"wake-ups in {daemon.IDLE_S:g} s", daemon.DAEMON, 0),
    Limit("GetAll, round trip", daemon.DAEMON, 1.2, to="bare dbus-next"),
    Limit("a command, wall clock", "liveupdatectl status", 100),
    Limit("Plan, round trip", "1000 workloads", 1000),
    Limit("Plan, CPU of the daemon", "1000 workloads", 10, to="100 workloads"),
)


def blackout(ways: Mapping[Way, Phases], name: str) -> float | None:
    """The median of the way of that name, by its best carrier; None if it was not measured."""
    found = [statistics.median(p[BLACKOUT]) for way, p in ways.items() if way.name == name]
    return min(found, default=None)


def table(measured: Measured) -> Iterator[str]:
    yield "| what | at most | measured | |"
    yield "| --- | ---: | ---: | --- |"
    for ratio in BLACKOUTS:
        yield _ratio(ratio, measured)
    yield _growth(GROWTH, measured)
    yield from _limits()


def _ratio(figure: Ratio, measured: Measured) -> str:
    to_load = figure.to_load or figure.load
    what = f"blackout with {figure.load}, to {figure.name}"
    what += f" with {to_load}" * (to_load != figure.load)
    ours = blackout(measured.get(figure.load, {}), OURS)
    other = blackout(measured.get(to_load, {}), figure.name)
    return _of_seconds(what, figure.limit, ours, other)


def _growth(figure: Growth, measured: Measured) -> str:
    what = f"growth of the blackout from {figure.smaller} to {figure.larger}, to that of the "
    what += f"{figure.name}, which is dd's time"

    def grown(name: str) -> float | None:
        small = blackout(measured.get(figure.smaller, {}), name)
        large = blackout(measured.get(figure.larger, {}), name)
        return None if small is None or large is None else large - small

    return _of_seconds(what, figure.limit, grown(OURS), grown(figure.name))


def _of_seconds(what: str, limit: float, ours: float | None, other: float | None) -> str:
    if ours is None or other is None:
        return f"| {what} | {limit:g} | | not measured |"
    over = ours - limit * other
    return f"| {what} | {limit:g} | {ours / other:.2f} | {_verdict(over, f'{over:.1f} s')} |"


def _limits() -> Iterator[str]:
    found: dict[tuple[str, str], list[float]] = {}
    units: dict[str, str] = {}
    for row in json.loads(daemon.RESULTS.read_text()):
        found.setdefault((row["what"], row["of"]), []).append(row["value"])
        units[row["what"]] = row["unit"]
    for figure in DAEMON:
        values = found.get((figure.what, figure.of))
        others = found.get((figure.what, figure.to)) if figure.to else [1.0]
        what = f"{figure.what}, {figure.of}" + f", to {figure.to}" * bool(figure.to)
        unit = "" if figure.to else f" {units.get(figure.what, '')}".rstrip()
        if not values or not others:
            yield f"| {what} | {figure.limit:g}{unit} | | not measured |"
            continue
        value = statistics.median(values) / statistics.median(others)
        over = value - figure.limit
        shown = f"{figure.limit:g}{unit} | {value:.3g}{unit}"
        yield f"| {what} | {shown} | {_verdict(over, f'{over:.2g}{unit}')} |"


def _verdict(over: float, shown: str) -> str:
    return "reached" if over <= 0 else f"missed by {shown}"
