# SPDX-License-Identifier: LGPL-2.1-or-later
"""DPDK applications: started again with their EAL arguments, hugepages and devices.

Their memory is hugepages that devices write to, which nothing carries into another kernel.  One
that is a service is started by systemd, in its place; one that is not, as the process that it was.
Hugepages and the devices' bindings are host state, and back before.
"""

import dataclasses
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from liveupdated import cgroup, dpdk, pci, unitfiles, unitrestore
from liveupdated.carry import declared
from liveupdated.errors import LiveUpdateError, SaveFailed, ServiceError
from liveupdated.procs import again, places
from liveupdated.procs import unit as process_unit
from liveupdated.session import Json, Outcome, Verdict, Workload
from liveupdated.timeline.marks import RUNNING
from liveupdated.workloads import Marker, Result

if TYPE_CHECKING:
    from liveupdated.host import Host

KIND = "dpdk"
RULE = None
ANSWER_LIMIT_S = 300.0
"""For an application to set up its memory and devices, and answer."""
POLL_S = 0.2


# --- find ---


def find(host: "Host") -> Iterable[Workload]:
    """Every application that answers to telemetry; those declared to be carried are services'."""
    carried = declared(host)
    mains = places.mains(host.units)
    for application in dpdk.applications():
        try:
            unit = mains.get(application.pid) or _unit(application.pid)
        except (OSError, StopIteration):  # it has just ended
            continue
        if unit not in carried and application.pid not in host.spoken_for_pids:
            host.spoken_for_pids.add(application.pid)
            yield _judged(host, application, unit)


def _unit(pid: int) -> str:
    """The system's own service that it runs in, if any."""
    parts = cgroup.of_process(pid).split("/")
    unit = next((part for part in parts if part.endswith(".service")), "")
    return "" if unit.startswith(places.OWN) else unit


def _judged(host: "Host", application: dpdk.Application, unit: str) -> Workload:
    name, pid = application.name, application.pid
    workload = Workload(f"{KIND}:{name}", KIND, name, Verdict.RESTARTED, "")
    devices = pci.opened_by(pid)
    workload.facts = {"pid": pid, "socket": application.socket, "unit": unit, "own": not unit}
    workload.needs = ["hugepages", *(f"device:{address}" for address in devices)]
    if ":" in name:  # a further process needs the first one's memory
        workload.needs.append(f"path:{application.folder}")
    else:
        workload.provides.append(f"path:{application.folder}")
    found: list[str] = []
    if not application.answers:
        found.append("it does not answer on its telemetry socket")
    if unit.startswith("user@"):
        found.append(f"it belongs to {unit}, which does not tell what starts it")
    elif unit:
        workload.facts |= _service(host, unit, pid)
        if workload.facts["main"]:
            host.spoken_for.add(unit)
            workload.provides.append(f"unit:{unit}")
        else:
            workload.needs.append(f"unit:{unit}")
        how = f"by {unit}"
    else:
        found += again.obstacles(pid)
        how = "as the process that it is"
    if found:
        workload.facts["blocked"] = True
        workload.verdict = Verdict.BLOCKS
        workload.reason = f"it cannot be started again as it was: {'; '.join(found)}"
        return workload
    held = f", with {', '.join(devices)}" if devices else ""
    workload.reason = (
        f"started again with its EAL arguments {how}{held}; its memory and what is in flight "
        "in its rings and queues are lost"
    )
    return workload


def _service(host: "Host", unit: str, pid: int) -> dict[str, Json]:
    shown = host.units.get(unit, {})
    return {
        "main": shown.get("MainPID") == str(pid),
        "start": unitfiles.needs_start(host, unit),
        "files": unitfiles.unit_files(shown),
    }


# --- save ---


def hold_files(workload: Workload) -> dict[str, str]:
    return {}


def save(workload: Workload, artifacts: Path, mark: Marker) -> None:
    """Write down how it was started and what it has in flight; it runs on until the shutdown."""
    facts = workload.facts
    if facts.get("blocked"):  # its loss was agreed to
        return
    try:
        seen = dataclasses.asdict(dpdk.look(facts["socket"]))
    except ServiceError as error:
        raise SaveFailed(
            f"the DPDK application {workload.name} was not saved", str(error)
        ) from error
    workload.saved = {"seen": seen}
    if facts["own"]:
        group = cgroup.of_process(facts["pid"])
        workload.saved |= {"slice": places.slice_of(group), "origin": places.origin(group)}
        workload.saved["again"] = again.save(facts["pid"], artifacts)


def commit(workload: Workload) -> None:
    """It ends like all others in the shutdown, and closes its devices itself."""


def resume(workload: Workload, artifacts: Path) -> None:
    """It was never stopped."""


# --- restore ---


def boot_files(workload: Workload, artifacts: Path) -> dict[str, str]:
    return {}


def prepare(workload: Workload, artifacts: Path) -> None:
    """Hugepages and bindings are host state; its unit is the boot's or ours to start."""


def restore(workload: Workload, artifacts: Path, mark: Marker) -> Result:
    """Have it started, once what it needs is back, and see that it is what it was."""
    facts, saved = workload.facts, workload.saved
    if not saved:
        if facts["own"]:
            return Result(Outcome.LOST, workload.reason)
        start = facts["main"] and facts["start"]
        return Result(*unitrestore.afresh(facts["unit"], start, facts["files"], workload.reason))
    lost = _lost(dpdk.look_from_json(saved["seen"]))
    unit, outcome, reason = _start(workload, lost)
    if outcome is Outcome.RESTARTED:
        outcome, reason = _as_it_was(workload, unit, lost)
    mark(RUNNING)
    return Result(outcome, reason)


def _start(workload: Workload, lost: str) -> tuple[str, Outcome, str]:
    facts, saved = workload.facts, workload.saved or {}
    if not facts["own"]:
        start = facts["main"] and facts["start"]
        unit = facts["unit"]
        return unit, *unitrestore.afresh(unit, start, facts["files"], lost)
    called = f"DPDK Application {workload.name}"
    place = process_unit.Place(called, saved["slice"], saved["origin"])
    try:
        return process_unit.start_again(place, saved["again"])
    except LiveUpdateError as error:
        return "", Outcome.FAILED, str(error)


def _lost(seen: dpdk.Look) -> str:
    ports = ", ".join(
        f"{port.name} had received {port.received} and sent {port.sent} packets"
        for port in seen.ports
    )
    return (
        "what was in flight is lost: at the save "
        f"{seen.buffers} packet buffers were in its rings and queues" + (ports and f"; {ports}")
    )


def _as_it_was(workload: Workload, unit: str, lost: str) -> tuple[Outcome, str]:
    """Whether it answers, and with the same arguments."""
    seen = _wait(workload.name, unit)
    if seen is None:
        return Outcome.FAILED, f"it does not answer on its telemetry socket; {lost}"
    wanted = (workload.saved or {})["seen"]
    # The first is the program's name, which may be written in another way.
    if (seen.eal[1:], seen.arguments) != (wanted["eal"][1:], wanted["arguments"]):
        said = " ".join([*seen.eal[1:], "--", *seen.arguments])
        return Outcome.RESTARTED, f"it has other arguments than before ({said}); {lost}"
    return Outcome.RESTARTED, lost


def _wait(name: str, unit: str) -> dpdk.Look | None:
    end = time.monotonic() + ANSWER_LIMIT_S
    while time.monotonic() < end:
        for application in dpdk.applications():
            try:
                if (
                    application.name == name
                    and application.answers
                    and f"/{unit}" in cgroup.of_process(application.pid)
                ):
                    return dpdk.look(application.socket)
            except (ServiceError, OSError, StopIteration):
                continue
        time.sleep(POLL_S)
    return None


def restart(workload: Workload) -> Result:
    """The same: its memory is lost in any case."""
    return restore(workload, Path(), lambda name: None)


def settle() -> None:
    """Nothing was held."""
