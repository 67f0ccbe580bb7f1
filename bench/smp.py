# SPDX-License-Identifier: LGPL-2.1-or-later
"""What makes the new kernel's own boot quicker, from the time stamps of real boots.

    .venv/bin/python -m bench.smp [ROUNDS] [--only SERIES]

Boots a kernel of the lab again and again, each with one thing changed, and reads its log with the
code that reads a host's.  As root, where the lab's image is not there yet.  Writes every
measurement into bench/results-smp.json, and from there bench/results-smp.md.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import boots, smp_report
from bench.smp_report import CONSOLE, INITRD, MEMORY, PROCESSORS, RESULTS, Results, Row
from tests.lab import image
from tests.lab.accel import TCG, accelerator
from tests.lab.errors import LabError

KERNEL = "7.3"
ROUNDS = 3
CPUS = 2
MEMORY_MIB = 512
LARGE_MIB = 1024
"""Where the initrd is large."""


@dataclass(frozen=True)
class Boot:
    """One to be measured."""

    series: str
    size: int
    variant: str
    initrd: Path
    words: str = "quiet"
    cpus: int = CPUS
    memory_mib: int = MEMORY_MIB


def planned(alone: Path, full: Path) -> Iterator[Boot]:
    """All of a round: `alone` is the initrd with nothing but what tells the log."""
    for cpus in (2, 4, 8, 16, 32):
        for variant, value in (("one after the other", 0), ("in parallel", 1)):
            words = f"quiet cpuhp.parallel={value}"
            yield Boot(PROCESSORS, cpus, variant, alone, words, cpus=cpus)
    for mib in (1024, 2048, 4096, 8192):
        yield Boot(MEMORY, mib, "deferred", alone, memory_mib=mib)
    for variant, initrd in (("none", alone), ("full", full)):
        size = (initrd.stat().st_size - alone.stat().st_size) >> 20
        yield Boot(INITRD, size, variant, initrd, memory_mib=LARGE_MIB)
    for variant, words in (("all of the log", "loglevel=7"), ("quiet", "quiet")):
        yield Boot(CONSOLE, CPUS, variant, alone, words)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.smp")
    parser.add_argument("rounds", nargs="?", type=int, default=ROUNDS)
    parser.add_argument("--only", choices=(PROCESSORS, MEMORY, INITRD, CONSOLE))
    given = parser.parse_args()
    system = image.image()
    kernel = system.kernel(KERNEL)
    build = boots.build_of(system, kernel)
    how = "TCG" if accelerator(kernel.image) == TCG else "KVM"
    machine = f"{os.cpu_count()} cores ({platform.machine()}), QEMU with {how}, {kernel.version}"
    rows: list[Row] = []
    failures: list[str] = []
    with TemporaryDirectory(prefix="bench-") as name:
        alone = boots.make_initrd(system, Path(name))
        full = boots.make_initrd(system, Path(name), [kernel.initrd])
        for number in range(given.rounds):
            for each in planned(alone, full):
                if given.only not in (None, each.series):
                    continue
                called = f"{each.series}, {each.size}, {each.variant}"
                try:
                    log = boots.log_of(
                        kernel,
                        each.initrd,
                        each.words,
                        cpus=each.cpus,
                        memory_mib=each.memory_mib,
                    )
                    seen = boots.read(log, kernel.version, build)
                except LabError as error:
                    failures.append(f"{called}: {str(error).splitlines()[0]}")
                    print(failures[-1], flush=True)
                    continue
                print(called, seen.phases, flush=True)
                rows += [
                    Row(each.series, each.size, each.variant, number, phase, seconds, seen.facts)
                    for phase, seconds in seen.phases.items()
                ]
    results = Results(machine, rows, failures)
    RESULTS.write_text(json.dumps(asdict(results), indent=0) + "\n")
    smp_report.write(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
