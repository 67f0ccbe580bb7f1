# SPDX-License-Identifier: LGPL-2.1-or-later
"""`python -m bench.blackout [ROUNDS]`: how long nobody answers, way by way, as a client outside of
the machine sees it.

Every way is gone in the same virtual machine, round by round; the one through firmware needs a
machine of its own.  Rows go to results.json as they come.
"""

import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import firmware, report, ways
from bench.client import Client
from tests.lab import deb, image
from tests.lab.qemu import Machine

RESULTS = Path(__file__).parent / "results.json"
ROUNDS = 3
MEMORY_MIB = 4096
SIZES_MIB = (16, 256, 1024)
SERVICES = (10, 50)
"""So many at once, with SMALL_MIB each; one service is in the rows of the sizes."""
SMALL_MIB = 4
DISK = "disk"


@dataclass(frozen=True)
class Row:
    """A measurement; phase `blackout` is the whole."""

    way: str
    carrier: str
    mib: int
    """Of memory in each service."""
    services: int
    round: int
    phase: str
    seconds: float


class Results:
    """What was measured so far, on the disk too: a run that breaks off has not been for nothing."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def add(self, row: Row) -> None:
        self.rows.append(row)
        print(
            f"{row.round} {row.way} {row.mib} MiB x {row.services}: {row.seconds:.1f} s", flush=True
        )
        RESULTS.write_text(json.dumps([asdict(row) for row in self.rows], indent=0) + "\n")

    def add_all(
        self, way: str, mib: int, services: int, number: int, seconds: Mapping[str, float]
    ) -> None:
        for phase, value in seconds.items():
            self.add(Row(way, DISK, mib, services, number, phase, value))


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    results = Results()
    lab = image.image()
    disk = deb.layer(lab, deb.build_deb())
    with Machine(lab, disk=disk, memory=MEMORY_MIB, ports=ways.PORTS) as vm:
        vm.wait_running()
        ways.furnish(vm)
        for number in range(1, rounds + 1):
            one_service(vm, results, number)
            many_services(vm, results, number)
    with tempfile.TemporaryDirectory() as folder:
        through = firmware.arguments(lab.kernel(ways.KERNEL), Path(folder))
        with (
            Machine(lab, disk=disk, memory=MEMORY_MIB, ports=ways.PORTS, firmware=through) as vm,
            Client([vm.port(ways.PORTS[0])]) as client,
        ):
            vm.wait_running()
            ways.furnish(vm)
            ways.run_services(vm, 1)
            for number in range(1, rounds + 1):
                results.add(
                    Row("reboot-firmware", "", 0, 1, number, "blackout", ways.reboot(vm, client))
                )
    report.write(RESULTS)


def one_service(vm: Machine, results: Results, number: int) -> None:
    ways.run_services(vm, 1)
    with Client([vm.port(ways.PORTS[0])]) as client:
        for name, go in (
            ("soft-reboot", ways.soft_reboot),
            ("reboot", ways.reboot),
            ("kexec", ways.kexec),
        ):
            results.add(Row(name, "", 0, 1, number, "blackout", go(vm, client)))
        for mib in SIZES_MIB:
            client.fill(mib)
            seconds, phases = ways.liveupdated(vm, client)
            results.add_all("liveupdated", mib, 1, number, {"blackout": seconds, **phases})
        for mib in SIZES_MIB:
            results.add_all("floor", mib, 1, number, ways.floor(vm, client, mib))
        for mib in SIZES_MIB:
            seconds = ways.criu_script(vm, client, mib)
            results.add(Row("criu-script", DISK, mib, 1, number, "blackout", seconds))


def many_services(vm: Machine, results: Results, number: int) -> None:
    for services in SERVICES:
        ways.run_services(vm, services)
        with Client([vm.port(port) for port in ways.PORTS[:services]]) as client:
            client.fill(SMALL_MIB)
            seconds, phases = ways.liveupdated(vm, client)
        results.add_all("liveupdated", SMALL_MIB, services, number, {"blackout": seconds, **phases})


if __name__ == "__main__":
    main()
