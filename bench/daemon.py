# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the idle daemon costs, beside a bare dbus-next service on the same private bus.

    .venv/bin/python -m bench.daemon [ROUNDS]

As root, who may empty the page cache.  Prints a table of medians and writes every measurement into
bench/results-daemon.json.  Times are CPU time (user and system) where they say so, which a busy
machine does not stretch much; the two services are measured in turns, so that the ratio holds in
any case.

The daemon is the whole one, with its coordinator, on a scratch root (`bench.scratch`); systemd and
logind are stand-ins (`bench.stand_in`), so that a plan is without the worker that finds the
workloads.
"""

import asyncio
import compileall
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.bare_service import NAME as BARE
from bench.bare_service import PATH as BARE_PATH
from bench.scratch import furnish, write_found, write_session
from liveupdated import contract
from liveupdated.bus import Bus
from liveupdated.update.jump import LOGIN
from liveupdated.update.manager import PROPERTIES

REPO = Path(__file__).parent.parent
RESULTS = Path(__file__).with_name("results-daemon.json")
BUS_CONFIG = """\
<busconfig>
<listen>unix:path={socket}</listen><auth>EXTERNAL</auth>
<policy context="default">
<allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/>
</policy>
</busconfig>
"""
# Without the site module: a virtual environment's costs what no installed daemon pays.
PYTHON = [sys.executable] if sys.prefix == sys.base_prefix else [sys.executable, "-S"]
CTL = "from liveupdated.ctl.main import main; main()"
DAEMON = "liveupdated"
BARE_PYTHON = "python3 -I -S"


@dataclass(frozen=True)
class Service:
    """One of the two that are measured."""

    module: str
    name: str
    path: str
    interface: str


SERVICES = {
    "bare dbus-next": Service("bench.bare_service", BARE, BARE_PATH, BARE),
    DAEMON: Service("liveupdated.daemon", contract.NAME, contract.ROOT, contract.MANAGER),
}

ROUNDS = 5
CALLS = 20
TURNS = 20
SETTLE_S = 1.0
IDLE_S = 10.0
WORKLOADS = (10, 100, 1000)
START_LIMIT_S = 60.0
VERSION = sys.version.split()[0]


@dataclass(frozen=True)
class Row:
    """One measurement."""

    round: int
    what: str
    of: str
    value: float
    unit: str
    python: str = VERSION


@dataclass(frozen=True)
class Scratch:
    """The private bus and the root of the daemon under test."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def address(self) -> str:
        return f"unix:path={self.folder}/bus"

    @property
    def environment(self) -> dict[str, str]:
        # What the virtual environment's site module would have found.
        packages = [path for path in sys.path if path.endswith("-packages")]
        return {
            **os.environ,
            "DBUS_SYSTEM_BUS_ADDRESS": self.address,
            "LIVEUPDATED_ROOT": str(self.root),
            "LIVEUPDATED_DBUS": "dbus_next",
            "PYTHONPATH": os.pathsep.join([str(REPO), *packages]),
        }


# --- what is around the daemon ---


@contextlib.contextmanager
def around() -> Iterator[Scratch]:
    """The bus, with the stand-ins on it."""
    with tempfile.TemporaryDirectory(prefix="liveupdated-bench-") as name:
        scratch = Scratch(Path(name))
        furnish(scratch.root)
        config = scratch.folder / "bus.conf"
        config.write_text(BUS_CONFIG.format(socket=scratch.folder / "bus"))
        with running(["dbus-daemon", f"--config-file={config}", "--nofork"], scratch):
            until((scratch.folder / "bus").exists)
            yield scratch


@contextlib.contextmanager
def running(command: list[str], scratch: Scratch) -> Iterator[int]:
    process = subprocess.Popen(command, env=scratch.environment, cwd=scratch.folder)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + START_LIMIT_S
    while not true():
        if time.monotonic() > end:
            raise TimeoutError("a process of the measurement did not start")
        time.sleep(0.01)


# --- what is read of a process ---


def cpu_ms(pid: int) -> float:
    """CPU time of all threads, ended ones too (clock_getcpuclockid(3): CPUCLOCK_SCHED of a pid)."""
    return time.clock_gettime_ns((~pid << 3) | 2) / 1e6


def memory_mib(pid: int) -> dict[str, float]:
    """proc_pid_smaps_rollup(5): `Rss`, and `Pss`, in which what is shared counts in part."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    fields = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}
    return {"RSS": fields["Rss"], "PSS": fields["Pss"]}


def wake_ups(pid: int) -> int:
    """How often any of its threads went to sleep of itself."""
    status = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return sum(int(text.split("\nvoluntary_ctxt_switches:")[1].split()[0]) for text in status)


@dataclass(frozen=True)
class Run:
    """A command that has ended."""

    cpu_ms: float
    wall_ms: float
    output: str


def run(command: list[str], scratch: Scratch) -> Run:
    start = time.monotonic()
    process = subprocess.Popen(
        command, env=scratch.environment, cwd=scratch.folder, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command} exited with {process.returncode}")
    return Run(
        (usage.ru_utime + usage.ru_stime) * 1e3, (time.monotonic() - start) * 1e3, output.strip()
    )


# --- the measurements ---


Add = Callable[[str, str, float, str], None]
"""What is measured, of whom, the value and its unit."""


async def measure(number: int, scratch: Scratch) -> list[Row]:
    """One round."""
    rows: list[Row] = []

    def add(what: str, of: str, value: float, unit: str) -> None:
        rows.append(Row(number, what, of, value, unit))

    client = await Bus.connect(scratch.address)
    with contextlib.ExitStack() as stack:
        stack.enter_context(running([*PYTHON, "-m", "bench.stand_in"], scratch))
        await owned(client, LOGIN)
        pids = {}
        for of, service in SERVICES.items():
            pids[of] = stack.enter_context(running([*PYTHON, "-m", service.module], scratch))
            await owned(client, service.name)
            add("CPU to the name", of, cpu_ms(pids[of]), "ms")
        await idle(pids, add)
        await get_all(client, pids, add)
        for of, command in commands(scratch).items():
            done = await asyncio.to_thread(run, command, scratch)
            add("a command, CPU", of, done.cpu_ms, "ms")
            add("a command, wall clock", of, done.wall_ms, "ms")
        for count in WORKLOADS:
            await plan(client, scratch, count, pids[DAEMON], add)
        add("RSS", f"{DAEMON}, after these", memory_mib(pids[DAEMON])["RSS"], "MiB")
    await client.close()
    await asyncio.to_thread(restore_worker, scratch, add)
    return rows


async def idle(pids: dict[str, int], add: Add) -> None:
    """What it takes to do nothing."""
    await asyncio.sleep(SETTLE_S)
    before = {of: wake_ups(pid) for of, pid in pids.items()}
    await asyncio.sleep(IDLE_S)
    for of, pid in pids.items():
        add(f"wake-ups in {IDLE_S:g} s", of, wake_ups(pid) - before[of], "")
        for kind, value in memory_mib(pid).items():
            add(kind, of, value, "MiB")


async def get_all(client: Bus, pids: dict[str, int], add: Add) -> None:
    """All properties of one object, many times, of the services by turns."""
    took = dict.fromkeys(pids, (0.0, 0.0))
    for of in list(pids) * TURNS:
        service, pid, (wall, cpu) = SERVICES[of], pids[of], took[of]
        used, start = cpu_ms(pid), time.monotonic()
        for _ in range(CALLS):
            await client.call(
                service.name, service.path, PROPERTIES, "GetAll", "s", service.interface
            )
        took[of] = wall + (time.monotonic() - start) * 1e3, cpu + cpu_ms(pid) - used
    for of, (wall, cpu) in took.items():
        add("GetAll, round trip", of, wall / CALLS / TURNS, "ms")
        add("GetAll, CPU of the service", of, cpu / CALLS / TURNS, "ms")


async def plan(client: Bus, scratch: Scratch, count: int, pid: int, add: Add) -> None:
    """A plan of so many workloads, found beforehand."""
    write_found(scratch.root, count)
    used, start = cpu_ms(pid), time.monotonic()
    await client.call(
        contract.NAME, contract.ROOT, contract.MANAGER, "Plan", "a{sv}", {}, timeout=60
    )
    add("Plan, round trip", f"{count} workloads", (time.monotonic() - start) * 1e3, "ms")
    add("Plan, CPU of the daemon", f"{count} workloads", cpu_ms(pid) - used, "ms")


def commands(scratch: Scratch) -> dict[str, list[str]]:
    """Whose start to end is measured."""
    found = {
        BARE_PYTHON: [sys.executable, "-I", "-S", "-c", ""],
        "liveupdatectl --help": [*PYTHON, "-c", CTL, "--help"],
        "liveupdatectl status": [*PYTHON, "-c", CTL, "status"],
        "liveupdatectl status --json": [*PYTHON, "-c", CTL, "status", "--json"],
    }
    if shutil.which("busctl"):
        words = ["call", contract.NAME, contract.ROOT, PROPERTIES]
        address = f"--address={scratch.address}"
        found["busctl"] = ["busctl", address, *words, "GetAll", "s", contract.MANAGER]
    return found


async def owned(client: Bus, name: str) -> None:
    """Wait until that name has an owner."""
    bus = "org.freedesktop.DBus"
    end = time.monotonic() + START_LIMIT_S
    while not (await client.call(bus, "/org/freedesktop/DBus", bus, "NameHasOwner", "s", name))[0]:
        if time.monotonic() > end:
            raise TimeoutError(f"{name} has no owner")
        await asyncio.sleep(0.005)


def restore_worker(scratch: Scratch, add: Add) -> None:
    """From the start of the interpreter to the first restore."""
    root = scratch.root
    worker = str(Path(__file__).with_name("first_restore.py"))
    command = [sys.executable, "-I", "-S", worker, str(REPO), str(root / "run")]

    def fresh() -> None:
        shutil.rmtree(root)
        furnish(root)

    bare = run(commands(scratch)[BARE_PYTHON], scratch).cpu_ms
    fresh()
    write_session(root)
    done = run(command, scratch)
    whole = int(done.output) / 1e6
    fresh()
    write_session(root)
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("1")  # proc_sys_vm(5): as in a boot
    cold = run(command, scratch)
    fresh()
    wall = "the first restore, wall clock"
    add(wall, "warm", done.wall_ms, "ms")
    add(wall, "cold", cold.wall_ms, "ms")
    what = "CPU to the first restore"
    add(what, BARE_PYTHON, bare, "ms")
    add(what, "restore worker", whole, "ms")
    add(what, "its own", whole - bare, "ms")


# --- what is said of them ---


def table(rows: list[Row]) -> str:
    """Medians; the ratio is to the first of each group."""
    groups: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        groups.setdefault(row.what, {}).setdefault(row.of, []).append(row)
    lines = ["| what | of | median | ratio |", "| --- | --- | --- | --- |"]
    for what, by_of in groups.items():
        medians = {of: statistics.median(r.value for r in found) for of, found in by_of.items()}
        first = next(iter(medians.values()))
        for of, median in medians.items():
            ratio = f"{median / first:.2f}" if first and median is not first else ""
            lines.append(f"| {what} | {of} | {median:.3g} {by_of[of][0].unit} | {ratio} |")
    return "\n".join(lines)


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    for package in ("liveupdated", "bench"):  # as an installation does
        compileall.compile_dir(REPO / package, quiet=1)
    with around() as scratch:
        rows = [row for number in range(rounds) for row in asyncio.run(measure(number, scratch))]
        kernels = len(list((scratch.root / "boot").glob("vmlinuz-*")))
    RESULTS.write_text(json.dumps([asdict(row) for row in rows], indent=0) + "\n")
    print(f"Python {VERSION}, {kernels} kernels, {rounds} rounds\n")
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
