# SPDX-License-Identifier: LGPL-2.1-or-later
"""Containers of rootful podman: checkpointed by podman, restored by it in their own place.

Save freezes the container and has podman checkpoint it frozen.  After the jump a unit for each, or
the service that owns it (a quadlet), runs our launcher, which has podman restore it; that is before
podman-restart.service would start it afresh.  What cannot be carried is started again.
"""

import contextlib
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from liveupdated import cgroup, criu, podman, systemd, unitfiles, unitrestore
from liveupdated import checkpoint as engine
from liveupdated.errors import LiveUpdateError, SaveFailed, ServiceError
from liveupdated.podman import checkpoint, launch, obstacles, units
from liveupdated.session import Json, Outcome, Verdict, Workload
from liveupdated.timeline.marks import FROZEN, RUNNING, SAVED
from liveupdated.workloads import Marker, Result

if TYPE_CHECKING:
    from liveupdated.host import Host

KIND = "containers"
# Rough figures for a prediction before the first rehearsal: podman's and crun's own work, and
# memory written once and read once by a disk of 200 MB/s.
FIXED_COST_US = 4_000_000
BYTES_PER_US = 100


@dataclass(frozen=True)
class ContainerRule:
    """What `workloads.d` can say about a container."""

    container: str
    """Name, or a pattern with `*` and `?`."""
    carry: Literal["memory", "no"]
    source: str = ""


RULE = ContainerRule


# --- find ---


def find(host: "Host") -> Iterable[Workload]:
    """Every container of root's that runs."""
    running = podman.running()
    missing = obstacles.of_the_host({podman.runtime(each) for each in running}) if running else []
    mains = {unit.get("MainPID", "0"): name for name, unit in host.units.items()}
    owners = {
        each["Id"]: mains.get(str(each["State"].get("ConmonPid") or "none"), "") for each in running
    }
    # A unit that starts a pod makes all of it anew (podman-systemd.unit(5), .pod and .kube).
    made = {each["Id"]: owners[each["Id"]] for each in running if owners[each["Id"]]}
    host.spoken_for.update(made.values())
    host.spoken_for_pids.update(podman.helpers())
    found = [_judge(host, each, owners, made, missing) for each in running]
    _addresses_first(found)
    return found


def _addresses_first(found: list[Workload]) -> None:
    """Have what starts afresh wait for what comes back with its address: podman would give a free
    one to whoever asks first."""
    kept = [each for each in found if each.verdict is Verdict.CARRIED and each.facts["addresses"]]
    for fresh in (each for each in found if each.verdict is Verdict.RESTARTED):
        own = fresh.facts["id"]
        others = [each for each in kept if own not in each.facts["joins"].values()]
        fresh.needs += [f"container:{each.facts['id']}" for each in others]
        fresh.facts["after"] = [_unit(each) for each in others if not each.facts["unit"]]


def _judge(
    host: "Host",
    container: podman.Container,
    owners: dict[str, str],
    made: dict[str, str],
    missing: list[str],
) -> Workload:
    name, unit = container["Name"], owners[container["Id"]]
    joins = podman.joined(container)
    pod_unit = _pod_unit(container, joins, made)
    rule = host.rule(ContainerRule, name)
    workload = Workload(
        id=f"{KIND}:{name}",
        kind=KIND,
        name=name,
        verdict=Verdict.RESTARTED,
        reason="",
        source=rule.source if rule else "",
        provides=[f"container:{container['Id']}", *([f"unit:{unit}"] if unit else [])],
        needs=sorted({criu.KERNEL, *(f"container:{other}" for other in joins.values())}),
        facts=_facts(host, container, unit, pod_unit, joins),
    )
    found = [*missing, *obstacles.of(container)]
    if pod_unit:
        found.append(f"{pod_unit} makes its pod anew at each start")
    memory, connections = 0, ""
    try:
        group = checkpoint.cgroup_of(container)
        pids = cgroup.pids(group)
        host.spoken_for_pids.update([*pids, workload.facts["conmon"]])
        workload.facts["group"] = str(group)
        memory = checkpoint.memory_bytes(group)
        connections = engine.tcp_sentence(pids)
    except (LiveUpdateError, OSError, ValueError, KeyError, IndexError) as error:
        found.append(str(error))
    if rule and rule.carry == "no":
        return _restarted(workload, f"{rule.source} says so")
    if found and rule:
        workload.verdict = Verdict.BLOCKS
        workload.reason = "its memory is to be carried, but " + "; ".join(found)
        return workload
    if found:
        return _restarted(workload, "its memory cannot be carried: " + "; ".join(found))
    workload.verdict = Verdict.CARRIED
    workload.bytes = memory
    workload.cost_us = FIXED_COST_US + memory // BYTES_PER_US
    where = f", back in {unit}" if unit else ""
    workload.reason = f"memory carried by podman's own checkpoint{where}; {connections}"
    return workload


def _pod_unit(container: podman.Container, joins: dict[str, str], made: dict[str, str]) -> str:
    if not container.get("Pod"):
        return ""
    if container.get("IsInfra"):
        return made.get(container["Id"], "")
    units = [made[other] for other in joins.values() if other in made]
    service = podman.service_of(container)
    return units[0] if units else service if service in made.values() else ""


def _facts(
    host: "Host",
    container: podman.Container,
    unit: str,
    pod_unit: str,
    joins: dict[str, str],
) -> dict[str, Json]:
    owner = unit or pod_unit
    return {
        "id": container["Id"],
        "pid": container["State"]["Pid"],
        "conmon": container["State"].get("ConmonPid", 0),
        "bundle": str(podman.bundle(container)),
        "joins": joins,
        "export": bool(container["HostConfig"].get("AutoRemove")),
        "cidfile": container["HostConfig"].get("ContainerIDFile", ""),
        "addresses": podman.addresses(container),
        "published": podman.published(container),
        "unit": owner,
        "files": unitfiles.unit_files(host.units[owner]) if owner in host.units else {},
        "start": bool(owner) and unitfiles.needs_start(host, owner),
    }


def _restarted(workload: Workload, why: str) -> Workload:
    owner = workload.facts["unit"]
    if workload.facts["export"] and not owner:
        workload.verdict = Verdict.LOST
        workload.reason = f"podman removes it when it ends (--rm), and nothing makes it anew; {why}"
        return workload
    how = f"started again by {owner}" if owner else "the same container, started again"
    workload.reason = f"{how}, its memory is lost; {why}"
    return workload


# --- save, and undoing it ---


def hold_files(workload: Workload) -> dict[str, str]:
    unit = workload.facts.get("unit")
    if not unit or workload.verdict is not Verdict.CARRIED:
        return {}
    return {f"{unit}.d/{unitrestore.HOLD_DROPIN}": units.HOLD}


def save(workload: Workload, artifacts: Path, mark: Marker) -> None:
    facts = workload.facts
    if workload.verdict is not Verdict.CARRIED:
        workload.saved = {"launch": launch.write(artifacts, facts, "", [])}
        return
    mark(FROZEN)
    try:
        taken = checkpoint.take(workload.id, facts, artifacts)
        workload.saved = {
            "launch": launch.write(artifacts, facts, taken.seal, taken.tracked),
            "tcp": taken.tcp,
        }
    except (LiveUpdateError, OSError, subprocess.SubprocessError) as error:
        _let_go(workload)
        detail = f"{error.what}: {error.why}" if isinstance(error, LiveUpdateError) else str(error)
        raise SaveFailed(f"{workload.name} could not be checkpointed", detail) from error
    workload.bytes = taken.bytes
    mark(SAVED)


def _let_go(workload: Workload) -> None:
    """Let it run on, and leave nothing of the checkpoint behind."""
    facts = workload.facts
    try:
        checkpoint.open_network(facts["pid"])
    finally:
        with contextlib.suppress(FileNotFoundError):
            cgroup.thaw(Path(facts["group"]))
        engine.release(workload.id, bridged=True)
        checkpoint.discard(Path(facts["bundle"]))


def commit(workload: Workload) -> None:
    """Kill it: left to the shutdown, podman or systemd would thaw it first."""
    if workload.verdict is Verdict.CARRIED and workload.saved:
        checkpoint.end(Path(workload.facts["group"]), workload.facts["conmon"])


def resume(workload: Workload, artifacts: Path) -> None:
    if workload.verdict is not Verdict.CARRIED:
        return
    # Not by /proc/PID: a process that was killed is there until its parent has looked.
    if workload.facts["pid"] in cgroup.pids(Path(workload.facts["group"])):
        _let_go(workload)
    elif workload.saved:
        _restore_in_place(workload, artifacts)
    else:
        raise ServiceError(f"{workload.name} is gone and was not saved")


def _restore_in_place(workload: Workload, artifacts: Path) -> None:
    """Bring a committed container back in the same boot.  Raises ServiceError when it cannot."""
    facts = workload.facts
    with contextlib.suppress(ServiceError):
        # podman learns so that it ended; the first to ask gets the missing conmon as an error.
        podman.call("stop", "--time=0", facts["id"])
    if facts["export"]:
        podman.call("rm", "--force", "--ignore", facts["id"])
    prepare(workload, artifacts)
    files = boot_files(workload, artifacts)
    try:
        unitrestore.in_place(_unit(workload), files, facts["files"], _no_more)
    finally:
        engine.release(workload.id, bridged=True)


# --- restore ---


def _unit(workload: Workload) -> str:
    """The unit in which it comes back."""
    return workload.facts["unit"] or units.own(workload.facts["id"])


def boot_files(workload: Workload, artifacts: Path) -> dict[str, str]:
    """The unit that brings it back, or a drop-in for its owner's next start to do so."""
    if not workload.saved:
        return {}
    facts, work = workload.facts, unitrestore.folder(_unit(workload))
    command = units.start_command(artifacts, workload.saved["launch"], work)
    if not facts["unit"]:
        return units.own_files(facts, command, workload.restore_weight)
    if workload.verdict is not Verdict.CARRIED:
        return units.later_files(facts["unit"], facts["after"])
    return units.owner_files(facts["unit"], command, work, workload.restore_weight)


def prepare(workload: Workload, artifacts: Path) -> None:
    """Make the empty folder in which the launcher tells how it goes, and keep the network from
    answering the peers of its connections."""
    if not workload.saved:
        return
    unitrestore.prepare(_unit(workload))
    if "tcp" in workload.saved:
        engine.hold(workload.id, workload.saved)


def restore(workload: Workload, artifacts: Path, mark: Marker) -> Result:
    if not workload.saved:
        return restart(workload)
    facts, carried = workload.facts, workload.verdict is Verdict.CARRIED
    if facts["unit"] and not carried:
        return _by_its_owner(workload, workload.reason)
    if not facts["unit"]:
        _start_own_unit(workload)
    elif facts["start"]:
        unitfiles.start(facts["unit"], facts["files"])
    fresh = unitrestore.wait_active if facts["unit"] else _started_by_launcher
    try:
        outcome, reason = unitrestore.watch(_unit(workload), _no_more, fresh)
    finally:
        if carried:
            engine.release(workload.id, bridged=True)
        if not facts["unit"]:
            systemd.forget_failure(_unit(workload))
    mark(RUNNING)
    if carried:
        return Result(outcome, reason)
    if outcome is Outcome.CARRIED:
        return Result(Outcome.RESTARTED, workload.reason)
    error = unitrestore.read_text(unitrestore.folder(_unit(workload)) / "error")
    return Result(Outcome.FAILED, f"{workload.reason}; it could not be started: {error}")


def _start_own_unit(workload: Workload) -> None:
    """The boot does so too, and may have done it: whoever waits for another comes here late."""
    if unitrestore.tried(_unit(workload)):
        return
    try:
        systemd.start(_unit(workload), wait=False)
    except ServiceError:
        if not unitrestore.tried(_unit(workload)):
            raise


def _started_by_launcher(unit: str) -> bool:
    return (unitrestore.folder(unit) / launch.FRESH).exists()


def _no_more(folder: Path) -> str:
    """All that is known about a failure is in the launcher's words."""
    return ""


def _by_its_owner(workload: Workload, reason: str) -> Result:
    facts = workload.facts
    return Result(*unitrestore.afresh(facts["unit"], facts["start"], facts["files"], reason))


def restart(workload: Workload) -> Result:
    """Memory is gone: its service starts it, or it is started like any other container."""
    facts = workload.facts
    lost = "its memory is lost: the machine did not come by this jump"
    checkpoint.discard(Path(facts["bundle"]))
    if facts["unit"]:
        return _by_its_owner(workload, lost)
    if facts["export"]:
        return Result(Outcome.LOST, f"{lost}; podman has removed it (--rm)")
    try:
        _wait_for_bus()
        podman.call("start", facts["id"])
    except LiveUpdateError as error:
        return Result(Outcome.FAILED, f"{lost}; {error}")
    return Result(Outcome.RESTARTED, lost)


def _wait_for_bus() -> None:
    end = time.monotonic() + unitfiles.BUS_LIMIT_S
    while not (systemd.RUN / systemd.BUS_SOCKET).exists() and time.monotonic() < end:
        time.sleep(0.1)


def settle() -> None:
    """Nothing was held: each unit's start was for once."""
