# SPDX-License-Identifier: LGPL-2.1-or-later
"""Services whose memory is carried: checkpointed by CRIU, restored by systemd in their own unit.

Save freezes the unit's cgroup and dumps it frozen.  After the jump a drop-in makes the unit's start
the restore of the checkpoint, this once: systemd starts it at its place in the boot, with its name,
cgroup, limits and sandbox, and tracks it from then on.  When that start fails, systemd's own
automatic restart starts the service afresh, from its own definition, which by then is back.
"""

import contextlib
import os
import socket
import struct
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from liveupdated import (
    bootset,
    candidates,
    cgroup,
    checkpoint,
    criu,
    needs,
    paths,
    systemd,
    timers,
    unitfiles,
    unitrestore,
)
from liveupdated.carry import Declared, UnitRule, declared
from liveupdated.errors import LiveUpdateError, SaveFailed, ServiceError
from liveupdated.procs import volatile
from liveupdated.session import Json, Verdict, Workload, remove_tree
from liveupdated.timeline.marks import FROZEN, RUNNING, SAVED
from liveupdated.workloads import Marker, Result

if TYPE_CHECKING:
    from liveupdated.host import Host

KIND = "services"
RULE = UnitRule
WATCHDOG_PAUSE_US = 3_600_000_000

# From the checkpoint to the jump systemd must neither restart the service nor run its stop
# commands, which would find it dead.
HOLD = """\
# Written by liveupdated while this service is checkpointed.
[Service]
Restart=no
ExecStop=
ExecStopPost=
SuccessExitStatus=SIGKILL
"""

# CRIU gives each process its own credentials, capabilities, no-new-privileges and seccomp filters
# back, so none of them may bind the launcher: a filter on the launcher makes the restore hang
# (PTRACE_O_SUSPEND_SECCOMP needs an unfiltered tracer, ptrace(2)).  What makes the file system view
# stays: the restored processes live in it.
LIFTED = """\
CapabilityBoundingSet=~
AmbientCapabilities=
NoNewPrivileges=no
SystemCallFilter=
SystemCallArchitectures=
SystemCallLog=
RestrictAddressFamilies=
RestrictFileSystems=
RestrictNamespaces=no
RestrictRealtime=no
RestrictSUIDSGID=no
LockPersonality=no
MemoryDenyWriteExecute=no
PrivateDevices=no
ProtectClock=no
ProtectHostname=no
ProtectKernelLogs=no
ProtectKernelModules=no
ProtectKernelTunables=no
ProtectControlGroups=no
ProtectProc=default
ProcSubset=all
NoExecPaths=
ExecPaths=
SecureBits=
"""

# As systemd.service(5): `!` leaves the launcher its credentials, `+` keeps it out of the unit's
# mounts, too.  Inside, where /run may be read-only, it must still tell how it goes.  For a unit
# without mounts of its own that line would make some, and dozens of such units, which wait for
# each other in the kernel, hold up the network.
INSIDE = ("!", f"ReadWritePaths=+{paths.RUNTIME}\n")
OUTSIDE = ("+", "")


# --- find ---


def find(host: "Host") -> Iterable[Workload]:
    """Every running service that is declared to be carried in memory.

    Leaves to `units`, with a word about it, what is to be carried only if possible and cannot be,
    and what nobody has declared but would be worth it.
    """
    to_carry = declared(host)
    for name, how in sorted(to_carry.items()):
        if name in host.spoken_for:
            continue
        unit = host.units[name]
        facts: dict[str, Json] = {
            "main": int(unit.get("MainPID", "0")),
            "cgroup": unit.get("ControlGroup", ""),
            "files": unitfiles.unit_files(unit),
            "start": unitfiles.needs_start(host, name),
        }
        workload = _judge(name, unit, how, facts)
        if how.optional and workload.verdict is Verdict.BLOCKS:
            host.not_carried[name] = workload.reason
        else:
            yield workload
    for name, unit in host.units.items():
        if name not in to_carry and name not in host.spoken_for and not host.rule(UnitRule, name):
            host.candidates[name] = _candidate(name, unit)


def _candidate(name: str, unit: systemd.Properties) -> str:
    """Why this service would be worth carrying, with what has to be done first; or nothing."""
    running = name.endswith(".service") and unit.get("SubState") == "running"
    if not running or bootset.plumbing(name):
        return ""
    try:
        main, pids = _processes(name, unit.get("ControlGroup", ""), int(unit.get("MainPID", "0")))
        up_us = time.monotonic_ns() // 1000 - int(unit.get("ActiveEnterTimestampMonotonic", "0"))
        clients = checkpoint.sockets(pids).clients
        worth = candidates.worth(checkpoint.memory_bytes(pids), up_us, clients)
        found = [*_unit_obstacles(unit), *criu.obstacles(main, pids)] if worth else []
    except (LiveUpdateError, OSError):  # it ended, or its processes are not its own
        return ""
    if any(criu.WAY_OUT not in obstacle for obstacle in found):
        return ""
    return "; but first: ".join(filter(None, [worth, "; ".join(found)]))


def _judge(name: str, unit: systemd.Properties, how: Declared, facts: dict[str, Json]) -> Workload:
    workload = Workload(
        id=f"{KIND}:{name}",
        kind=KIND,
        name=name,
        verdict=Verdict.BLOCKS,
        reason="",
        source=how.source,
        optional=how.optional,
        provides=[f"unit:{name}"],
        needs=[criu.KERNEL],
        facts=facts,
    )
    try:
        found = _unit_obstacles(unit)
        main, pids = _processes(name, facts["cgroup"], facts["main"])
        found += criu.obstacles(main, pids)
        workload.needs += needs.of_processes(pids) + needs.of_unit(name)
    except (LiveUpdateError, OSError) as error:
        found = [str(error)]
    if found:
        workload.reason = "its memory is to be carried, but " + "; ".join(found)
        return workload
    workload.verdict = Verdict.CARRIED
    workload.reason = (
        f"memory carried by CRIU, as {how.source} says; {checkpoint.tcp_sentence(pids)}"
    )
    workload.bytes = checkpoint.memory_bytes(pids)
    workload.cost_us = checkpoint.FIXED_COST_US + workload.bytes // checkpoint.BYTES_PER_US
    return workload


def _unit_obstacles(unit: systemd.Properties) -> list[str]:
    found = []
    if unit.get("NFileDescriptorStore", "0") not in ("", "0"):
        found.append("systemd holds descriptors for it (FileDescriptorStoreMax=)")
    sockets = [name for name in unit.get("TriggeredBy", "").split() if name.endswith(".socket")]
    if sockets:
        found.append(f"systemd holds its socket too ({', '.join(sockets)})")
    if unit.get("MainPID", "0") in ("", "0"):
        found.append("it has no main process")
    if unit.get("DefaultDependencies") == "no":
        found.append("it starts before the state folder can be read (DefaultDependencies=no)")
    dropins = [Path(path).name for path in unit.get("DropInPaths", "").split()]
    late = sorted(name for name in dropins if name > unitrestore.DROPIN)
    if late:
        found.append(f"its drop-in {', '.join(late)} is read after ours (way out: another name)")
    return found


def _processes(name: str, path: str, main: int) -> tuple[int, list[int]]:
    group = cgroup.folder(path)
    pids = cgroup.pids(group)
    if main not in pids:
        raise ServiceError(f"main process {main} is not in the cgroup of {name}")
    nested = [entry.name for entry in os.scandir(group) if entry.is_dir()]
    if nested:
        raise ServiceError(
            f"{name} has control groups of its own", ", ".join(nested), "Delegate=no"
        )
    return main, pids


# --- save, and undoing it ---


def hold_files(workload: Workload) -> dict[str, str]:
    if workload.verdict is not Verdict.CARRIED:
        return {}
    return {f"{workload.name}.d/{unitrestore.HOLD_DROPIN}": HOLD}


def look_ahead(workload: Workload) -> None:
    main, pids = _processes(workload.name, workload.facts["cgroup"], workload.facts["main"])
    unit = systemd.show_one(
        workload.name, "WatchdogUSec", "RuntimeDirectory", "PIDFile", "PrivateTmp"
    )
    kept = _volatile(unit)
    workload.facts["ahead"] = {
        "obstacles": criu.obstacles(main, pids),
        "watchdog_us": timers.span_us(unit["WatchdogUSec"]),
        "kept": kept,
        "after_run": _has_in_run(pids, kept),
    }


def write_ahead(workload: Workload, artifacts: Path) -> None:
    if workload.bytes < checkpoint.WORTH_WRITING_AHEAD:
        return
    with contextlib.suppress(LiveUpdateError, OSError):  # the save will say what is wrong
        main, _ = _processes(workload.name, workload.facts["cgroup"], workload.facts["main"])
        checkpoint.write_ahead(main, artifacts)


def save(workload: Workload, artifacts: Path, mark: Marker) -> None:
    if workload.verdict is not Verdict.CARRIED:  # its loss was agreed to
        return
    try:
        _take(workload, artifacts, mark)
    except SaveFailed as error:
        if not workload.optional:
            raise
        _leave(workload, artifacts, str(error))


def _leave(workload: Workload, artifacts: Path, why: str) -> None:
    """What was to be carried only if possible, and cannot be, goes down with the shutdown like any
    service."""
    hold = [f"{systemd.RUNTIME_UNITS}/{path}" for path in hold_files(workload)]
    workload.verdict = Verdict.RESTARTED
    workload.reason = f"not carried: {why}"
    for folder in (checkpoint.IMAGES, checkpoint.WRITTEN_AHEAD):
        remove_tree(artifacts / folder)
    systemd.remove_files(hold)
    systemd.reload()


def _take(workload: Workload, artifacts: Path, mark: Marker) -> None:
    main, _ = _processes(workload.name, workload.facts["cgroup"], workload.facts["main"])
    seen = workload.facts.pop("ahead")
    if seen["obstacles"]:
        raise SaveFailed(f"{workload.name} cannot be carried", "; ".join(seen["obstacles"]))
    group = cgroup.folder(workload.facts["cgroup"])
    watchdog_us = seen["watchdog_us"]
    _set_watchdog(main, WATCHDOG_PAUSE_US if watchdog_us else 0)
    mark(FROZEN)
    try:
        saved = checkpoint.take(workload.name, main, group, artifacts, volatile=seen["kept"])
    except SaveFailed:
        _set_watchdog(main, watchdog_us)
        raise
    workload.saved = {
        "watchdog_us": watchdog_us,
        "after_run": seen["after_run"],
        "own_mounts": criu.namespace(main, "mnt") != criu.namespace(criu.HOST_PID, "mnt"),
        **saved,
    }
    workload.bytes = saved["bytes"]
    mark(SAVED)


def _volatile(unit: systemd.Properties) -> list[str]:
    """What the service has that does not outlive it: RuntimeDirectory=, PIDFile=, PrivateTmp=."""
    kept = [f"run/{folder}" for folder in unit.get("RuntimeDirectory", "").split()]
    pid_file = unit.get("PIDFile", "").removeprefix("/")
    if pid_file.startswith("run/") and not any(pid_file.startswith(f"{path}/") for path in kept):
        kept.append(pid_file)
    if unit.get("PrivateTmp", "no") != "no":
        kept += ["tmp", "var/tmp"]
    return kept


def _has_in_run(pids: list[int], kept: list[str]) -> bool:
    """Whether they use something in /run that is not among what is kept with the service."""
    used = [name for name in volatile.files(pids) if name.startswith("run/")]
    return any(
        not any(_within(name, folder) or _within(folder, name) for folder in kept) for name in used
    )


def _within(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder}/")


def commit(workload: Workload) -> None:
    if workload.saved:
        checkpoint.end(cgroup.folder(workload.facts["cgroup"]), workload.saved)


def resume(workload: Workload, artifacts: Path) -> None:
    if workload.verdict is not Verdict.CARRIED:
        return
    group = cgroup.folder(workload.facts["cgroup"])
    main = workload.facts["main"]
    if group.is_dir() and main in cgroup.pids(group):
        cgroup.thaw(group)
        checkpoint.release(workload.name)
        if workload.saved:
            _set_watchdog(main, workload.saved["watchdog_us"])
    elif workload.saved:
        _restore_in_place(workload, artifacts)
    else:
        raise ServiceError(f"{workload.name} is gone and was not saved")


def _restore_in_place(workload: Workload, artifacts: Path) -> None:
    prepare(workload, artifacts)
    dropins = boot_files(workload, artifacts)
    try:
        unitrestore.in_place(workload.name, dropins, workload.facts["files"], _why)
    finally:
        checkpoint.release(workload.name)


def _set_watchdog(main: int, watchdog_us: int) -> None:
    """Set the service's watchdog time in its name (sd_pid_notify(3)): frozen, it cannot answer.

    A drop-in would not do: systemd keeps the time that was in force when the service started.
    """
    if not watchdog_us:
        return
    stat = os.stat(f"/proc/{main}")
    sender = struct.pack("3i", main, stat.st_uid, stat.st_gid)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.connect("/run/systemd/notify")
        message = f"WATCHDOG_USEC={watchdog_us}\nWATCHDOG=1".encode()
        sock.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, sender)])


# --- restore ---


def boot_files(workload: Workload, artifacts: Path) -> dict[str, str]:
    """The drop-in that makes the unit's next start the restore."""
    if not workload.saved:
        return {}
    work = unitrestore.folder(workload.name)
    launcher = f"{paths.LIBEXEC}/restore-unit {artifacts} {workload.saved['launch']} {work}"
    prefix, settings = INSIDE if workload.saved["own_mounts"] else OUTSIDE
    text = f"""\
# Written by liveupdated: this once the start of the service is the restore of its checkpoint.
{unitrestore.until_settled(workload.name)}[Unit]
{unitrestore.EARLY}{unitrestore.AFTER_RUN if workload.saved["after_run"] else ""}[Service]
StartupCPUWeight={workload.restore_weight}
Type=forking
PIDFile={work}/pid
NotifyAccess=main
ExecCondition=
ExecStartPre=
ExecStart=
ExecStart={prefix}{launcher}
ExecStartPost=
ExecStop=
ExecStopPost=
ExecStopPost=!/usr/bin/touch {work}/failed
{unitrestore.AFRESH}TimeoutStartSec={unitrestore.START_LIMIT_S}
{settings}{LIFTED}"""
    return {f"{workload.name}.d/{unitrestore.DROPIN}": text}


def prepare(workload: Workload, artifacts: Path) -> None:
    """Make the empty folder in which the restore of this unit tells how it goes, and keep the
    network from answering the peers of its connections."""
    work = unitrestore.prepare(workload.name)
    if workload.saved:
        checkpoint.ready(artifacts, workload.saved["launch"], work)
        checkpoint.hold(workload.name, workload.saved)


def restore(workload: Workload, artifacts: Path, mark: Marker) -> Result:
    if not workload.saved:
        return _afresh(workload, workload.reason)
    if workload.facts["start"]:
        unitfiles.start(workload.name, workload.facts["files"])
    try:
        outcome, reason = unitrestore.watch(workload.name, _why)
    finally:
        checkpoint.release(workload.name)
    mark(RUNNING)
    return Result(outcome, reason)


def restart(workload: Workload) -> Result:
    return _afresh(workload, "its memory is lost: the machine did not come by this jump")


def _afresh(workload: Workload, reason: str) -> Result:
    facts = workload.facts
    return Result(*unitrestore.afresh(workload.name, facts["start"], facts["files"], reason))


def settle() -> None:
    """Nothing was held: each drop-in ends with its unit's start."""


def _why(folder: Path) -> str:
    return criu.restore_error(folder / "restore.log")
