# SPDX-License-Identifier: LGPL-2.1-or-later
"""libvirt's domains (qemu:///system): saved and restored by libvirt itself.

A persistent domain by its managed save, which is where libvirt's own autostart looks first; a
transient one into a file of ours.  Between save and restore the domain is shut off.
"""

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from xml.etree.ElementTree import ParseError

from liveupdated import cgroup, checkpoint, libvirt, needs, paths, systemd, unitrestore
from liveupdated.errors import LiveUpdateError, RestoreFailed, SaveFailed, ServiceError
from liveupdated.instructions import TURN_LIMIT_S
from liveupdated.libvirt import definition, gate, start, supplies
from liveupdated.libvirt.definition import Definition
from liveupdated.qemu import files, snapshot
from liveupdated.session import Json, Outcome, Verdict, Workload
from liveupdated.timeline.marks import FROZEN, PAUSED, RETURNED, RETURNING, RUNNING, SAVED
from liveupdated.workloads import Marker, Result

if TYPE_CHECKING:
    from liveupdated.host import Host

KIND = "domains"
STATE = "state"
XML = "domain.xml"

# Rough figures for a prediction before the first rehearsal: libvirt's and QEMU's start, and memory
# written once and read once by a disk of 200 MB/s.
FIXED_COST_US = 3_000_000
BYTES_PER_US = 100
DAEMON_LIMIT_S = 120
"""For the daemon's own start, after our gate."""


@dataclass(frozen=True)
class DomainRule:
    """What `workloads.d` can say about a domain of libvirt's."""

    domain: str
    """Name, or a pattern with `*` and `?`."""
    carry: Literal["memory", "no"]
    source: str = ""


RULE = DomainRule


# --- find ---


def find(host: "Host") -> Iterable[Workload]:
    """Every domain that runs, or is paused."""
    running = list(libvirt.running())
    if not running:
        return
    for _, pid in running:
        host.spoken_for_pids.update(_with_its_helpers(pid))
    try:
        listed = (line.split(maxsplit=1) for line in _list().splitlines())
        uuids = {name: uuid for uuid, name in listed}
    except LiveUpdateError as error:
        uuids, why = {}, str(error)
    else:
        why = "libvirt does not list it"
    for name, pid in running:
        yield _judge(host, name, uuids.get(name, ""), pid, why)


def _list() -> str:
    return libvirt.virsh("list", "--uuid", "--name")


def _with_its_helpers(pid: int) -> list[int]:
    """All of its scope, where it has one (swtpm, virtiofsd)."""
    try:
        scope, found, _ = cgroup.of_process(pid).partition(".scope")
    except OSError:
        return [pid]
    return cgroup.pids(cgroup.folder(scope + found)) if found else [pid]


def _judge(host: "Host", name: str, uuid: str, pid: int, why: str) -> Workload:
    rule = host.rule(DomainRule, name)
    source = rule.source if rule else ""
    workload = Workload(f"{KIND}:{name}", KIND, name, Verdict.BLOCKS, "", source=source)
    try:
        if not uuid:
            raise ServiceError("its state cannot be told", why)
        seen = definition.read(libvirt.virsh("dumpxml", uuid))
        workload.facts = _facts(uuid, pid, seen)
        workload.needs = [*needs.of_processes([pid]), *(f"link:{link}" for link in seen.links)]
        if rule and rule.carry == "no":
            workload.verdict = Verdict.RESTARTED
            workload.reason = f"started afresh, as {source} says: its memory is lost"
            return workload
        found = _obstacles(uuid, pid, seen)
    except (LiveUpdateError, OSError, ParseError) as error:
        found = [str(error)]
    if found:
        workload.reason = (
            f"the domain cannot be carried: {'; '.join(found)} "
            '(to start it afresh, its memory lost: a rule with carry = "no")'
        )
        return workload
    workload.verdict = Verdict.CARRIED
    workload.bytes = checkpoint.memory_bytes([pid])
    workload.cost_us = FIXED_COST_US + workload.bytes // BYTES_PER_US
    how = "managed save" if workload.facts["persistent"] else "save, as it is transient"
    workload.reason = f"stopped and saved by libvirt ({how})"
    if seen.unchecked:
        workload.reason += f"; that nobody writes {', '.join(seen.unchecked)} is not checked"
    return workload


def _facts(uuid: str, pid: int, seen: Definition) -> dict[str, Json]:
    shown = libvirt.info("dominfo", uuid)
    return {
        "uuid": uuid,
        "pid": pid,
        "running": shown.get("State") == "running",
        "persistent": shown.get("Persistent") == "yes",
        "autostart": shown.get("Autostart") == "enable",
        "agent": seen.agent,
        "networks": list(seen.networks),
        "pools": list(seen.pools),
        "images": list(seen.images),
        "daemon": _daemon(),
    }


def _daemon() -> str:
    """The unit by which libvirt is there."""
    units = [f"{name}.{kind}" for kind in ("socket", "service") for name in libvirt.DAEMONS]
    shown = systemd.show(units, ["ActiveState"])
    active = [unit for unit in units if shown.get(unit, {}).get("ActiveState") == "active"]
    return active[0] if active else units[0]


def _obstacles(uuid: str, pid: int, seen: Definition) -> list[str]:
    """What libvirt and the kernel tell before the save; the rest it says then."""
    said, reason = libvirt.state(uuid)
    found = [
        f"it has {device} of the host"
        + " (way out: shut the guest down, or declare that it may be started afresh)"
        for device in seen.devices
    ]
    if said not in ("running", "paused"):
        found.append(f"libvirt says that it is {said} ({reason})")
    if libvirt.info("domjobinfo", uuid).get("Job type", "None") != "None":
        found.append("a job of libvirt's is under way for it")
    in_memory = files.devices_in_memory()
    for path in seen.images:
        found += files.obstacles(pid, "its disk image", path, in_memory)
    room = os.statvfs(libvirt.SAVED)
    if room.f_bavail * room.f_frsize < checkpoint.memory_bytes([pid]):
        found.append(f"{libvirt.SAVED} has no room for its memory")
    return found


# --- save, and undoing it ---


def hold_files(workload: Workload) -> dict[str, str]:
    """Nothing: what is shut off is neither stopped nor started by a unit."""
    return {}


def save(workload: Workload, artifacts: Path, mark: Marker) -> None:
    if not workload.facts:  # libvirt did not answer, and that was agreed to
        return
    try:
        workload.saved = {"folder": str(artifacts)}
        _keep_definitions(workload.facts, artifacts)
        if workload.verdict is Verdict.CARRIED:
            _save(workload, artifacts, mark)
    except (LiveUpdateError, OSError) as error:
        with contextlib.suppress(LiveUpdateError):
            resume(workload, artifacts)
        workload.saved = None
        raise SaveFailed(f"{workload.name} could not be saved", str(error)) from error


def _keep_definitions(facts: dict[str, Json], artifacts: Path) -> None:
    """Of what is gone from libvirt once it is stopped."""
    if not facts["persistent"]:
        xml = libvirt.virsh("dumpxml", facts["uuid"], "--inactive", "--security-info")
        (artifacts / XML).write_text(xml)
    supplies.keep(facts, artifacts)


def _save(workload: Workload, artifacts: Path, mark: Marker) -> None:
    facts, uuid = workload.facts, workload.facts["uuid"]
    said, reason = libvirt.state(uuid)
    if said not in ("running", "paused"):
        raise SaveFailed("it can no longer be saved", f"it is {said} ({reason})")
    facts["running"] = said == "running"
    mark(FROZEN)
    if facts["running"]:
        libvirt.virsh("suspend", uuid)
    mark(PAUSED)
    then = "--running" if facts["running"] else "--paused"
    limit_s = libvirt.TRANSFER_LIMIT_S
    if facts["persistent"]:
        image = libvirt.SAVED / f"{workload.name}.save"
        libvirt.virsh("managedsave", uuid, then, limit_s=limit_s)
    else:
        image = artifacts / STATE
        libvirt.virsh("save", uuid, str(image), then, limit_s=limit_s)
    snapshot.sync(str(image))
    workload.bytes = image.stat().st_size
    workload.saved = {
        "folder": str(artifacts),
        "image": str(image),
        "fingerprint": files.fingerprint(image),
        "disks": {path: files.identity(path) for path in facts["images"]},
    }
    mark(SAVED)


def commit(workload: Workload) -> None:
    """Libvirt has ended its QEMU already."""


def resume(workload: Workload, artifacts: Path) -> None:
    facts = workload.facts
    if not facts or workload.verdict is not Verdict.CARRIED:
        return
    said, _ = libvirt.state(facts["uuid"])
    if said == "paused" and facts["running"]:
        libvirt.virsh("resume", facts["uuid"])
    elif said in ("", "shut off"):
        if not (workload.saved or {}).get("image"):
            raise ServiceError(f"{workload.name} is gone and was not saved")
        result = _load_or_afresh(workload, lambda name: None)
        if result.outcome is not Outcome.CARRIED:
            raise ServiceError(f"{workload.name} could not be resumed", result.reason)


# --- restore ---


def _gate(workload: Workload) -> Path:
    return paths.RESTORING / f"domain-{workload.facts.get('uuid', '')}"


def _looked_at_first(workload: Workload) -> bool:
    """Whether libvirt might start it before its saved state was looked at."""
    return bool(workload.facts.get("autostart") and (workload.saved or {}).get("image"))


def boot_files(workload: Workload, artifacts: Path) -> dict[str, str]:
    """Libvirt's daemon waits until we have looked at what its autostart would restore."""
    if not _looked_at_first(workload):
        return {}
    service = workload.facts["daemon"].partition(".")[0] + ".service"
    uuid = workload.facts["uuid"]
    text = f"""\
# Written by liveupdated: no autostart before the saved state of a domain was looked at, this once.
{unitrestore.until(_gate(workload) / gate.CHECKED)}[Unit]
After={paths.RESTORE_UNIT}
[Service]
ExecStartPre=-+{paths.LIBEXEC}/restore-domain {_gate(workload)}
TimeoutStartSec={TURN_LIMIT_S + DAEMON_LIMIT_S:.0f}
"""
    return {f"{service}.d/zzzz-liveupdated-{uuid}.conf": text}


def prepare(workload: Workload, artifacts: Path) -> None:
    if _looked_at_first(workload):
        _gate(workload).mkdir(mode=0o700, parents=True, exist_ok=True)


def restore(workload: Workload, artifacts: Path, mark: Marker) -> Result:
    if not workload.facts:
        return Result(Outcome.LOST, workload.reason)
    if "image" not in (workload.saved or {}):
        return _afresh(workload, workload.reason)
    return _load_or_afresh(workload, mark)


def restart(workload: Workload) -> Result:
    """What libvirt has saved is on the disk, whatever way the machine came by."""
    facts = workload.facts
    if not facts:
        return Result(Outcome.LOST, workload.reason)
    lost = "its memory is lost: the machine did not come by this jump"
    if "image" not in (workload.saved or {}):
        return _afresh(workload, lost)
    try:
        systemd.start(facts["daemon"])
        if not start.is_there(facts["uuid"], running=facts["running"]):
            return _load_or_afresh(workload, lambda name: None)
    except LiveUpdateError as error:
        return Result(Outcome.FAILED, str(error))
    return _afresh(workload, lost)


def _load_or_afresh(workload: Workload, mark: Marker) -> Result:
    mark(RETURNING)
    try:
        _refuse_changed(workload)
        _supply(workload)
        _load(workload)
        mark(RETURNED)
        if workload.facts["running"] and libvirt.state(workload.facts["uuid"])[0] == "paused":
            libvirt.virsh("resume", workload.facts["uuid"])
    except (LiveUpdateError, OSError) as error:
        result = _afresh(workload, f"its saved state could not be restored ({error})")
        mark(RUNNING)
        return result
    mark(RUNNING)
    facts = workload.facts
    late = start.set_clock(facts["uuid"]) if facts["agent"] and facts["running"] else ""
    return Result(Outcome.CARRIED, late)


def _refuse_changed(workload: Workload) -> None:
    """Raises RestoreFailed when the state is not what was saved, or no longer fits the disks: then
    it is deleted, before libvirt can start from it."""
    saved = workload.saved or {}
    image = Path(saved["image"])
    try:
        if not image.is_file() or files.fingerprint(image) != saved["fingerprint"]:
            raise RestoreFailed("it was altered", f"{image} is not as it was saved")
        for path, expected in saved["disks"].items():
            files.refuse_changed("its disk image", path, expected)
    except RestoreFailed:
        image.unlink(missing_ok=True)
        raise
    finally:
        if _gate(workload).is_dir():
            (_gate(workload) / gate.CHECKED).touch()


def _supply(workload: Workload) -> None:
    """Libvirt itself, and the networks and pools that the domain had.  Raises ServiceError."""
    systemd.start(workload.facts["daemon"])
    supplies.start(workload.facts, Path((workload.saved or {}).get("folder", "")))


def _load(workload: Workload) -> None:
    """Have libvirt restore it, paused, or wait until its autostart has.  Raises ServiceError."""
    facts, image = workload.facts, (workload.saved or {})["image"]
    command = ("start", facts["uuid"]) if facts["persistent"] else ("restore", image)
    start.until_there(
        facts["uuid"],
        *command,
        "--paused",
        running=facts["running"],
        limit_s=libvirt.TRANSFER_LIMIT_S,
    )
    if libvirt.state(facts["uuid"])[1] == "booted":
        raise RestoreFailed("libvirt has started it without its saved state")


def _afresh(workload: Workload, reason: str) -> Result:
    """Memory is gone, for `reason`: libvirt starts the domain, or has done so already."""
    facts, saved = workload.facts, workload.saved or {}
    try:
        _supply(workload)
        if not start.is_there(facts["uuid"], running=False):
            if facts["persistent"]:
                command = ["start", facts["uuid"], "--force-boot"]
            elif "folder" in saved:
                command = ["create", str(Path(saved["folder"]) / XML)]
            else:
                return Result(Outcome.LOST, f"{reason}; it was transient, libvirt has forgotten it")
            start.until_there(facts["uuid"], *command, running=False)
        if libvirt.state(facts["uuid"])[1] == "restored":
            return Result(Outcome.CARRIED, "libvirt had its state on the disk and restored it")
    except LiveUpdateError as error:
        return Result(Outcome.FAILED, f"{reason}; and it does not start: {error}")
    return Result(Outcome.RESTARTED, f"{reason}; started afresh")


def settle() -> None:
    """Nothing was held but the daemon's start, and that is over."""
