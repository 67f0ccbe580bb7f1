# SPDX-License-Identifier: LGPL-2.1-or-later
"""Containers of rootful podman: checkpointed by podman, restored by it in their own place.

Save freezes the container and has podman checkpoint it frozen.  After the jump a unit for each, or
the service that owns it (a quadlet), runs our launcher, which has podman restore it; that is before
podman-restart.service would start it afresh.  What cannot be carried is started again.
"""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from liveupdated import cgroup, criu, instructions, paths, podman, systemd, unitfiles, unitrestore
from liveupdated.errors import LiveUpdateError, SaveFailed, ServiceError
from liveupdated.podman import checkpoint, obstacles
from liveupdated.session import Json, Outcome, Verdict, Workload
from liveupdated.timeline.marks import FROZEN, RUNNING, SAVED
from liveupdated.workloads import Marker, Result

if TYPE_CHECKING:
    from liveupdated.host import Host

KIND = "containers"
LAUNCHER = paths.LIBEXEC / "restore-container"
START_LIMIT_S = 200
RUNNING_LIMIT_S = 400.0

# Rough figures for a prediction before the first rehearsal: podman's and crun's own work, and
# memory written once and read once by a disk of 200 MB/s.
FIXED_COST_US = 4_000_000
BYTES_PER_US = 100

# From the checkpoint to the jump the owner must neither start the container afresh nor remove it.
HOLD = """\
# Written by liveupdated while this container is checkpointed.
[Service]
Restart=no
ExecStop=
ExecStopPost=
SuccessExitStatus=SIGKILL
"""

# After what replaces whole rule sets: netavark's rules have to stay.
FIREWALLS = (
    "network-pre.target nftables.service firewalld.service netavark-firewalld-reload.service"
)


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
    try:
        running = podman.running()
    except LiveUpdateError as error:
        reason = f"what runs in containers cannot be told: {error}"
        return [Workload(f"{KIND}:podman", KIND, "podman", Verdict.BLOCKS, reason)]
    missing = obstacles.of_the_host() if running else []
    mains = {unit.get("MainPID", "0"): name for name, unit in host.units.items()}
    owners = {
        each["Id"]: mains.get(str(each["State"].get("ConmonPid") or "none"), "") for each in running
    }
    # A unit that starts a pod makes all of it anew (podman-systemd.unit(5), .pod and .kube).
    made = {each["Id"]: owners[each["Id"]] for each in running if owners[each["Id"]]}
    host.spoken_for.update(made.values())
    return [_judge(host, each, owners, made, missing) for each in running]


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
    if rule and rule.carry == "no":
        return _restarted(workload, f"{rule.source} says so")
    found = [*missing, *obstacles.of(container)]
    if pod_unit:
        found.append(f"{pod_unit} makes its pod anew at each start")
    try:
        workload.bytes = checkpoint.memory_bytes(checkpoint.cgroup_of(container["Id"]))
    except (LiveUpdateError, OSError, ValueError, KeyError) as error:
        found.append(str(error))
    if found and rule:
        workload.verdict = Verdict.BLOCKS
        workload.reason = "its memory is to be carried, but " + "; ".join(found)
        return workload
    if found:
        return _restarted(workload, "its memory cannot be carried: " + "; ".join(found))
    workload.verdict = Verdict.CARRIED
    workload.cost_us = FIXED_COST_US + workload.bytes // BYTES_PER_US
    workload.reason = "memory carried by podman's own checkpoint" + (
        f", back in {unit}" if unit else ""
    )
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
    return {f"{unit}.d/{unitrestore.HOLD_DROPIN}": HOLD}


def save(workload: Workload, artifacts: Path, mark: Marker) -> None:
    facts = workload.facts
    if not facts:  # podman did not answer, and that was agreed to
        return
    if workload.verdict is not Verdict.CARRIED:
        workload.saved = {"launch": _write_launch(artifacts, facts, "")}
        return
    bundle, export = Path(facts["bundle"]), _export(workload, artifacts)
    group = checkpoint.cgroup_of(facts["id"])
    mark(FROZEN)
    try:
        cgroup.freeze(group)
        checkpoint.shut_network(facts["pid"])
        checkpoint.dump(facts["id"], bundle, export)
        seal = checkpoint.seal(bundle, export)
        workload.bytes = checkpoint.size(bundle, export)
    except (LiveUpdateError, OSError, subprocess.SubprocessError) as error:
        _unfreeze(workload, group)
        detail = f"{error.what}: {error.why}" if isinstance(error, LiveUpdateError) else str(error)
        raise SaveFailed(f"{workload.name} could not be checkpointed", detail) from error
    workload.saved = {"cgroup": str(group), "launch": _write_launch(artifacts, facts, seal)}
    mark(SAVED)


def _export(workload: Workload, artifacts: Path) -> Path | None:
    return artifacts / checkpoint.EXPORT if workload.facts["export"] else None


def _write_launch(artifacts: Path, facts: dict[str, Json], seal: str) -> str:
    keys = ("id", "bundle", "joins", "export", "cidfile", "unit")
    return instructions.write(artifacts, {**{key: facts[key] for key in keys}, "seal": seal})


def _unfreeze(workload: Workload, group: Path) -> None:
    """Let it run on, and leave nothing of the checkpoint behind."""
    try:
        checkpoint.open_network(workload.facts["pid"])
    finally:
        with contextlib.suppress(FileNotFoundError):
            cgroup.thaw(group)
        checkpoint.discard(Path(workload.facts["bundle"]))


def commit(workload: Workload) -> None:
    """Kill it: left to the shutdown, podman or systemd would thaw it first."""
    if workload.verdict is Verdict.CARRIED and workload.saved:
        checkpoint.end(Path(workload.saved["cgroup"]), workload.facts["conmon"])


def resume(workload: Workload, artifacts: Path) -> None:
    if workload.verdict is not Verdict.CARRIED:
        return
    if Path(f"/proc/{workload.facts['pid']}").is_dir():
        _unfreeze(workload, checkpoint.cgroup_of(workload.facts["id"]))
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
    paths.CLAIMED.touch(mode=0o600)
    files = {
        f"{systemd.RUNTIME_UNITS}/{path}": text
        for path, text in boot_files(workload, artifacts).items()
    }
    systemd.write_files(files)
    try:
        systemd.reload()
        systemd.start(facts["unit"] or _own_unit(facts["id"]), wait=False)
        result = _watch(workload)
    finally:
        systemd.remove_files(files)
        systemd.reload()
    if result.outcome is not Outcome.CARRIED:
        raise ServiceError(f"{workload.name} could not be resumed", result.reason)


# --- restore ---


def _own_unit(container_id: str) -> str:
    return f"liveupdated-container-{container_id[:12]}.service"


def _work(workload: Workload) -> Path:
    return paths.RESTORING / _own_unit(workload.facts.get("id", ""))


def _had_its_try(workload: Workload) -> bool:
    return any((_work(workload) / end).exists() for end in ("running", "failed"))


def boot_files(workload: Workload, artifacts: Path) -> dict[str, str]:
    """The unit that brings it back, or a drop-in for its owner's next start to do so; none once
    that has had its try."""
    facts, work = workload.facts, _work(workload)
    if not workload.saved or _had_its_try(workload):
        return {}
    command = f"{LAUNCHER} {artifacts} {workload.saved['launch']} {work}"
    if not facts["unit"]:
        unit = _own_unit(facts["id"])
        return {
            unit: _unit_text(workload, command),
            f"multi-user.target.d/{unit}.conf": f"[Unit]\nWants={unit}\n",
        }
    if workload.verdict is not Verdict.CARRIED:
        return {}
    return {f"{facts['unit']}.d/{unitrestore.DROPIN}": _dropin_text(command, work)}


def _unit_text(workload: Workload, command: str) -> str:
    others = {_own_unit(other) for other in workload.facts["joins"].values()}
    return f"""\
# Written by liveupdated for the boot after a jump.
[Unit]
Description=Bring Container {workload.facts["id"][:12]} Back after a Live Update
After={paths.RESTORE_UNIT} network.target {FIREWALLS} {" ".join(sorted(others))}
Before=podman-restart.service podman-auto-update.service
RequiresMountsFor={workload.facts["bundle"]}
[Service]
Type=oneshot
ExecStart={command}
# What podman leaves running here, if it does, is not ours to kill.
KillMode=process
TimeoutStartSec={START_LIMIT_S}
UMask=0022
LimitCORE=0
"""


def _dropin_text(command: str, work: Path) -> str:
    return f"""\
# Written by liveupdated: this once the start of the container is the restore of its checkpoint.
[Unit]
After={paths.RESTORE_UNIT} {FIREWALLS}
[Service]
Type=notify
NotifyAccess=all
PIDFile=
ExecCondition=
ExecStartPre=
ExecStart=
ExecStart={command}
ExecStartPost=
ExecStopPost=/usr/bin/touch {work}/failed
{unitrestore.AFRESH}TimeoutStartSec={START_LIMIT_S}
"""


def prepare(workload: Workload, artifacts: Path) -> None:
    """Make the empty folder in which the launcher tells how it goes."""
    work = _work(workload)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(mode=0o700, parents=True)


def restore(workload: Workload, artifacts: Path, mark: Marker) -> Result:
    if workload.verdict is Verdict.LOST:
        return Result(Outcome.LOST, workload.reason)
    facts = workload.facts
    if not workload.saved:
        return restart(workload)
    if not facts["unit"]:
        _start_own_unit(workload)
    elif facts["start"]:
        unitfiles.start(facts["unit"], facts["files"])
    if workload.verdict is not Verdict.CARRIED and facts["unit"]:
        return _started(facts["unit"], "")
    result = _watch(workload)
    mark(RUNNING)
    return result


def _start_own_unit(workload: Workload) -> None:
    """The boot does so too, and may have done it: whoever waits for another comes here late."""
    if _had_its_try(workload):
        return
    try:
        systemd.start(_own_unit(workload.facts["id"]), wait=False)
    except ServiceError:
        if not _had_its_try(workload):
            raise


def _watch(workload: Workload) -> Result:
    """Wait until the launcher has brought it back, or it was started afresh after a failure."""
    work, unit = _work(workload), workload.facts["unit"]
    end = time.monotonic() + RUNNING_LIMIT_S
    while not (work / "failed").exists():
        if (work / "running").exists():
            carried = workload.verdict is Verdict.CARRIED
            return Result(Outcome.CARRIED if carried else Outcome.RESTARTED)
        if time.monotonic() > end:
            (work / "failed").touch()
            break
        time.sleep(0.05)
    why = _text(work / "error") or "no error was told"
    if workload.verdict is not Verdict.CARRIED:
        return Result(Outcome.FAILED, f"it could not be started: {why}")
    why = f"its checkpoint could not be restored ({why})"
    if unit:
        systemd.reload()  # the generator leaves out what failed: the definition is the unit's own
        return _started(unit, why)
    if (work / "fresh").exists():
        return Result(Outcome.RESTARTED, f"{why}; started afresh, its memory is lost")
    return Result(Outcome.FAILED, f"{why}; and it did not start afresh either")


def _started(unit: str, why: str) -> Result:
    """Wait for the service that owns it, started by the boot or by its own Restart=."""
    end = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end:
        state = systemd.show_one(unit, "ActiveState").get("ActiveState")
        if state == "active":
            fresh = f"{why}; started afresh by {unit}, its memory is lost" if why else ""
            return Result(Outcome.RESTARTED, fresh)
        if state == "failed":
            systemd.systemctl("reset-failed", "--", unit)
            systemd.start(unit, wait=False)
        time.sleep(0.3)
    return Result(Outcome.FAILED, "; ".join(filter(None, [why, f"{unit} does not start"])))


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def restart(workload: Workload) -> Result:
    """Memory is gone: its service starts it, or it is started like any other container."""
    if workload.verdict is Verdict.LOST:
        return Result(Outcome.LOST, workload.reason)
    facts = workload.facts
    if not facts:
        return Result(Outcome.LOST, f"nobody could tell what ran: {workload.reason}")
    lost = "its memory is lost: the machine did not come by this jump"
    checkpoint.discard(Path(facts["bundle"]))
    try:
        if facts["unit"]:
            if facts["start"]:
                unitfiles.start(facts["unit"], facts["files"])
            return _started(facts["unit"], lost)
        if facts["export"]:
            return Result(Outcome.LOST, f"{lost}; podman has removed it (--rm)")
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
