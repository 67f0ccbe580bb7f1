# SPDX-License-Identifier: LGPL-2.1-or-later
"""From bench/results-smp.json to words: medians of the kernel's own time stamps.

.venv/bin/python -m bench.smp_report
"""

import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).with_name("results-smp.json")

PROCESSORS, MEMORY, INITRD, CONSOLE = "processors", "memory", "initrd", "console"
KERNEL = "kernel"
"""The phase that is the whole: until the first program is run."""


@dataclass(frozen=True)
class Table:
    """How a series is shown."""

    series: str
    title: str
    size: str
    phase: str
    """Which phase is shown beside the whole."""
    note: str


TABLES = (
    Table(
        PROCESSORS,
        "Processors, by `cpuhp.parallel`",
        "processors",
        "processors",
        "Until all are up. That they came up in parallel is what the kernel's log says in so many "
        "words.",
    ),
    Table(
        MEMORY,
        "Memory, initialised late and in parallel",
        "MiB",
        "deferred pages",
        "The pages that are not needed at once. Whether they are put off is decided when a kernel "
        "is built (CONFIG_DEFERRED_STRUCT_PAGE_INIT), and Debian's kernels are built so: there is "
        "no boot here without.",
    ),
    Table(
        INITRD,
        "Initrd",
        "MiB",
        "initramfs",
        "Until it is unpacked, beside the kernel's other work. What the programs in it would do "
        "then is left out: none of them is run. `none` is the 2 MiB that tell the log, which are "
        "also in the other.",
    ),
    Table(CONSOLE, "Console, by `quiet`", "processors", "", "The console is a serial line."),
)
LIMITS = """\
## What this shows, and what it does not

- The mechanism: that the words reach the kernel, that the kernel does what they say and tells so in
  its log, and that our own code reads it there.
- Not the gain, where the machine above says TCG. An emulated processor is a thread of QEMU, and so
  many of them share two cores: those that come up in parallel wait in loops for each other, and
  take the cores away from those that do something. Real processors spend that time on waiting for
  the one that starts them, and that is what goes on in parallel.
- Not the cost of a serial line: an emulated one takes characters as fast as they come.
- All boots are with `lpj=`, because else each emulated processor measures its delay loop, for
  100 ms and more, one after the other in either case."""

REFERENCE = """\
The figures to compare with are those of a
[published account](https://github.com/Zenvila/Operating-system-project) of kexec with parallel
bring-up, which names neither the machine nor the number of its processors: the kernel 2.7 s before
and 1 s after (0.37), of which the processors 1.7 s and 60 ms (0.04)."""


@dataclass(frozen=True)
class Row:
    """One measurement, by the kernel's clock."""

    series: str
    size: int
    variant: str
    round: int
    phase: str
    seconds: float
    facts: Sequence[str]
    """What our advice reads in the same log."""


@dataclass(frozen=True)
class Results:
    """All of a run, and what it ran on."""

    machine: str
    rows: Sequence[Row]
    failures: Sequence[str] = ()


def read() -> Results:
    found = json.loads(RESULTS.read_text())
    return Results(found["machine"], [Row(**row) for row in found["rows"]], found["failures"])


def write(results: Results) -> None:
    RESULTS.with_suffix(".md").write_text(text(results))


def text(results: Results) -> str:
    rounds = 1 + max((row.round for row in results.rows), default=0)
    lines = [
        "# The kernel's part of the boot",
        "",
        "Written by `make bench` from `results-smp.json`.",
        f"Rounds: {rounds}. {results.machine}.",
        "Times in seconds, by the stamps of the kernel's own log: median, and from .. to.",
        "`kernel` is until the first program is run.",
    ]
    for table in TABLES:
        rows = [row for row in results.rows if row.series == table.series]
        if rows:
            lines += ["", f"## {table.title}", "", table.note, "", *_table(table, rows)]
        if rows and table.series == PROCESSORS:
            lines += ["", REFERENCE]
    lines += ["", LIMITS, ""]
    if results.failures:
        lines += ["## What could not be measured", ""]
        lines += [f"- {failure}" for failure in results.failures] + [""]
    return "\n".join(lines)


def _table(table: Table, rows: Sequence[Row]) -> Iterator[str]:
    """A line a size and variant, with the ratio to the first variant of that size or series."""
    by_boot: dict[tuple[int, str], dict[str, list[float]]] = {}
    facts: dict[tuple[int, str], dict[str, None]] = {}
    for row in sorted(rows, key=lambda row: row.size):
        boot = row.size, row.variant
        by_boot.setdefault(boot, {}).setdefault(row.phase, []).append(row.seconds)
        facts.setdefault(boot, {}).update(dict.fromkeys(row.facts))
    shown = [table.phase, KERNEL] if table.phase else [KERNEL]
    yield f"| {table.size} | | " + "".join(f"{name} | ratio | " for name in shown) + "our reading |"
    yield "| ---: | --- | " + "---: | ---: | " * len(shown) + "--- |"
    firsts: dict[int, dict[str, list[float]]] = {}
    for (size, variant), phases in by_boot.items():
        first = firsts.setdefault(size if table.series == PROCESSORS else 0, phases)
        cells = []
        for name in shown:
            cells += [_span(phases.get(name)), _ratio(phases.get(name), first.get(name))]
        said = "; ".join(facts[size, variant])
        yield f"| {size} | {variant} | {' | '.join(cells)} | {said} |"


def _span(seconds: list[float] | None) -> str:
    if not seconds:
        return ""
    return f"{statistics.median(seconds):.2f} ({min(seconds):.2f} .. {max(seconds):.2f})"


def _ratio(seconds: list[float] | None, first: list[float] | None) -> str:
    if not seconds or not first or seconds is first:
        return ""
    return f"{statistics.median(seconds) / statistics.median(first):.2f}"


if __name__ == "__main__":
    write(read())
