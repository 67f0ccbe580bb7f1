# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the comparison of blackouts writes down: bench/results.json."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path(__file__).with_name("results.json")
BLACKOUT = "blackout"
"""The phase that is the whole."""


@dataclass(frozen=True)
class Row:
    """One measurement."""

    way: str
    carrier: str
    """Where the memory went; empty where nothing is carried."""
    mib: int
    """That the services held together beforehand."""
    services: int
    round: int
    phase: str
    seconds: float


@dataclass(frozen=True)
class Results:
    """All of a run, and what it ran on."""

    machine: str
    rows: Sequence[Row]
    failures: Sequence[str] = ()
    """What could not be measured, and why."""


def write(results: Results) -> None:
    rows = ",\n".join(json.dumps(asdict(row)) for row in results.rows)
    head = json.dumps({"machine": results.machine, "failures": list(results.failures)})
    RESULTS.write_text(f'{head[:-1]}, "rows": [\n{rows}\n]}}\n')


def read() -> Results:
    found = json.loads(RESULTS.read_text())
    rows = [Row(**row) for row in found["rows"]]
    return Results(found["machine"], rows, found["failures"])
