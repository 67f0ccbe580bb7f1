# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a client outside sees of a live update, beside the other ways to a fresh system.

    .venv/bin/python -m bench.blackout [ROUNDS] [--quick|--all]

By turns, in one machine of the lab; the way through firmware in another, before.  As root.  Writes
every measurement into bench/results.json, and from there bench/results.md and bench/results.svg.
`--quick` is with one service and 256 MiB only, which without `--all` is all there is after the
first round.
"""

import argparse
import os
import platform
import sys
import time
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import firmware, report, rows
from bench.byhand import CRIU_SCRIPT
from bench.client import Client, Gap, longest_gap
from bench.floor import FLOOR
from bench.load import Load, fill, furnish
from bench.rows import BLACKOUT, Results, Row
from bench.ways import (
    FIRMWARE,
    KEXEC,
    LIVEUPDATED,
    LIVEUPDATED_PMEM,
    REBOOT,
    REGION_MIB,
    SOFT_REBOOT,
    Way,
)
from tests.lab import deb, image
from tests.lab.accel import TCG, accelerator
from tests.lab.errors import LabError
from tests.lab.qemu import Machine
from tests.vm.guest import JUMP_LIMIT_S, release

WAYS = (REBOOT, KEXEC, SOFT_REBOOT, CRIU_SCRIPT, LIVEUPDATED, LIVEUPDATED_PMEM, FLOOR)
KERNEL = "7.3"
MEMORY_MIB = 4096
"""Besides what the pmem carrier has."""
REGION = f"memmap={REGION_MIB}M!4G"
"""On this board memory goes on there."""
ROUNDS = 3
SETTLE_S = 3.0
QUICK = (Load(256, 1),)
LOADS = (*QUICK, Load(16, 1), Load(1024, 1), Load(256, 10), Load(256, 50))


def measure(vm: Machine, load: Load, way: Way, number: int) -> list[Row]:
    """One round of one way."""
    vm.run(f"systemctl enable --now {load.units}")
    phases = one(vm, load, way)
    vm.run(f"systemctl disable --now {load.units}")
    return [
        Row(way.name, way.carrier, load.mib, load.services, number, phase, seconds)
        for phase, seconds in phases.items()
    ]


def one(vm: Machine, load: Load, way: Way) -> dict[str, float]:
    """The phases of one way, once."""
    with Client([vm.port(port) for port in load.ports]) as client:
        way.prepare(vm, load)
        client.wait_for_all(JUMP_LIMIT_S)
        fill(vm, load)
        vm.run("sync")
        time.sleep(SETTLE_S)
        before = client.wait_for_all(JUMP_LIMIT_S)
        start = time.monotonic()
        phases = dict(way.take(vm, load))
        after = client.wait_for_all(JUMP_LIMIT_S)
        gap = longest_gap(client.since(start))
    if (after == before) != way.keeps:
        raise LabError(f"{before} before, and {after} after")
    if way.boots_all:
        phases |= of_the_boot(vm, gap)
    phases |= way.finish(vm, load)
    whole = gap.seconds + sum(phases[part] for part in way.beside)
    print(f"{load.mib} MiB, {load.services}: {way.name} {whole:.2f} s", flush=True)
    return {BLACKOUT: whole, **phases}


def of_the_boot(vm: Machine, gap: Gap) -> dict[str, float]:
    """The blackout in three parts, of which the kernel and systemd tell the middle one.

    The kernel's begin is by the guest's uptime, and off by as long as it takes to ask.
    """
    shown = "systemctl show -P UserspaceTimestampMonotonic; cut -d' ' -f1 /proc/uptime"
    kernel_us, uptime = vm.run(shown).stdout.split()
    began, kernel = time.monotonic() - float(uptime), int(kernel_us) / 1e6
    return {
        "down": began - gap.before.at,
        "kernel": kernel,
        "userspace": gap.after.at - began - kernel,
    }


def described(vm: Machine) -> str:
    """What it ran on, for whoever compares."""
    emulated = accelerator(vm.kernel.image) == TCG
    systemd = vm.run("systemctl --version | head -n 1").stdout.strip()
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), QEMU with {'TCG' if emulated else 'KVM'}, "
        f"{vm.cpus} CPUs and {vm.memory} MiB of memory, NVMe disk in the host's page cache, "
        f"Linux {release(vm)} to the same, {systemd}"
    )


def without_carrier(vm: Machine) -> list[str]:
    """The carrier that this kernel cannot have, in words."""
    option = "CONFIG_KEXEC_HANDOVER"
    built = vm.run(f"grep -w {option} /boot/config-{release(vm)}", check=False).stdout.strip()
    if built == f"{option}=y":
        return []
    return [f"liveupdated (handover): {release(vm)} says {built or f'nothing of {option}'!r}"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.blackout")
    parser.add_argument("rounds", nargs="?", type=int, default=ROUNDS)
    parser.add_argument("--quick", action="store_true", help="one service with 256 MiB only")
    parser.add_argument("--all", action="store_true", help="all others in every round too")
    given = parser.parse_args()
    loads = QUICK if given.quick else LOADS
    most = max(loads, key=lambda load: load.services)
    system = image.image()
    disk = deb.layer(system, deb.build_deb())
    found: list[Row] = []
    failures: list[str] = []
    code = 0
    with TemporaryDirectory(prefix="bench-") as folder:
        own_boot = firmware.arguments(Path(folder), system.kernel(KERNEL))
        for ways, arguments in (([FIRMWARE], own_boot), (WAYS, [])):
            with Machine(
                system,
                disk=disk,
                kernel=KERNEL,
                append=REGION,
                memory=MEMORY_MIB + REGION_MIB,
                ports=most.ports,
                firmware=arguments,
            ) as vm:
                vm.wait_running()
                furnish(vm, most)
                if LIVEUPDATED in ways:
                    failures += without_carrier(vm)
                results = Results(described(vm), found, failures)
                for number, load, way in product(range(given.rounds), loads, ways):
                    if number and not given.all and load not in QUICK:
                        continue
                    try:
                        found += measure(vm, load, way, number)
                    except (LabError, TimeoutError) as error:
                        # The others have taken long, and are right nevertheless.
                        code = 1
                        why = str(error).splitlines()[0]
                        failures.append(f"{way.name}, {load.mib} MiB, {load.services}: {why}")
                        print(failures[-1], vm.evidence(), sep="\n", flush=True)
                        vm.reset()
                        vm.wait_running()
                    rows.write(results)
    report.write(rows.read())
    return code


if __name__ == "__main__":
    sys.exit(main())
