# SPDX-License-Identifier: LGPL-2.1-or-later
"""Virtual machines: guests of a QEMU that is the main process of a service.

Save stops the guest through QEMU's monitor and has its state written.  After the jump a drop-in
makes the unit's start that of the same QEMU waiting for that state, this once, and the launcher
(`liveupdated.qemu.launch`) has it loaded.  RAM in files that outlive the boot stays in them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from liveupdated import (
    cgroup,
    checkpoint,
    instructions,
    needs,
    paths,
    systemd,
    unitfiles,
    unitrestore,
)
from liveupdated.carry import declared
from liveupdated.errors import LiveUpdateError, SaveFailed, ServiceError
from liveupdated.qemu import cmdline, files, guest, launch, process, qmp, snapshot
from liveupdated.session import Json, Outcome, Verdict, Workload
from liveupdated.timeline.marks import RUNNING, SAVED
from liveupdated.workloads import Marker, Result

if TYPE_CHECKING:
    from liveupdated.host import Host

KIND = "machines"

# Rough figures for a prediction before the first rehearsal: QEMU's start, and RAM written once and
# read once by a disk of 200 MB/s.
FIXED_COST_US = 1_500_000
BYTES_PER_US = 100
DEVICES_BYTES = 32 << 20
"""More than the devices of a guest take, video memory and firmware among them."""
LOAD_BYTES_PER_S = 20 << 20
"""As slow as a disk may be before the load is taken for hung."""

# From the save to the jump systemd must neither restart QEMU nor run commands that would have the
# guest shut down.  What cleans up after QEMU still runs: its counterpart will run before the next.
HOLD = """\
# Written by liveupdated while this guest is saved.
[Service]
Restart=no
ExecStop=
SuccessExitStatus=SIGKILL
"""


@dataclass(frozen=True)
class MachineRule:
    """What `workloads.d` can say about a virtual machine."""

    machine: str
    """Name of the guest (QEMU's -name) or of its service, or a pattern with `*` and `?`."""
    carry: Literal["memory", "no"]
    source: str = ""


RULE = MachineRule


# --- find ---


def find(host: "Host") -> Iterable[Workload]:
    """Every guest of a QEMU on this host; those in containers are their containers' business."""
    processes = set(process.emulators()) - host.spoken_for_pids
    by_criu = declared(host)
    for name, unit in sorted(host.units.items()):
        main = int(unit.get("MainPID") or "0")
        if name.endswith(".service") and main in processes:
            processes.discard(main)
            if name not in by_criu or by_criu[name].optional:
                host.spoken_for.add(name)
                yield _of_service(host, name, unit, main)
    for pid in sorted(processes):
        host.spoken_for_pids.add(pid)
        yield _without_service(pid)


def _without_service(pid: int) -> Workload:
    try:
        called = cmdline.guest_name(cmdline.of_process(pid)) or f"QEMU {pid}"
    except OSError:
        called = f"QEMU {pid}"
    reason = (
        f"process {pid} is the main process of no service, so nothing starts it again "
        "(way out: run it as a service, or shut the guest down)"
    )
    return Workload(f"{KIND}:{called}", KIND, called, Verdict.LOST, reason)


def _of_service(host: "Host", name: str, unit: systemd.Properties, main: int) -> Workload:
    facts: dict[str, Json] = {
        "main": main,
        "cgroup": unit.get("ControlGroup", ""),
        "files": unitfiles.unit_files(unit),
        "start": unitfiles.needs_start(host, name),
    }
    workload = Workload(
        f"{KIND}:{name}", KIND, name, Verdict.BLOCKS, "", provides=[f"unit:{name}"], facts=facts
    )
    try:
        argv = cmdline.of_process(main)
        rule = host.rule(MachineRule, name) or host.rule(MachineRule, cmdline.guest_name(argv))
        workload.source = rule.source if rule else ""
        if rule and rule.carry == "no":
            workload.verdict = Verdict.RESTARTED
            workload.reason = f"started afresh, as {rule.source} says: its memory is lost"
            return workload
        _judge(workload, unit, argv)
    except (LiveUpdateError, OSError) as error:
        workload.reason = _cannot(str(error))
    return workload


def _cannot(why: str) -> str:
    return (
        f"the guest cannot be carried: {why} "
        '(to start it afresh, its memory lost: a rule with carry = "no")'
    )


def _judge(workload: Workload, unit: systemd.Properties, argv: list[str]) -> None:
    main = workload.facts["main"]
    found = _unit_obstacles(workload.name, unit, main)
    with _monitor(main, argv) as monitor:
        seen = guest.look(monitor, main, argv)
    found += seen.obstacles
    workload.needs = [
        *needs.of_processes([main]),
        *(f"link:{link}" for link in cmdline.links(argv)),
    ]
    if found:
        workload.reason = _cannot("; ".join(found))
        return
    workload.verdict = Verdict.CARRIED
    workload.bytes = DEVICES_BYTES + (0 if seen.ram else checkpoint.memory_bytes([main]))
    workload.cost_us = FIXED_COST_US + workload.bytes // BYTES_PER_US
    where = f"its RAM stays in {', '.join(seen.ram)}" if seen.ram else "its RAM is saved with it"
    workload.reason = f"stopped and saved by QEMU; {where}"
    if seen.unchecked:
        workload.reason += f"; that nobody writes {', '.join(seen.unchecked)} is not checked"


def _unit_obstacles(name: str, unit: systemd.Properties, main: int) -> list[str]:
    found = []
    shown = systemd.show_one(name, "User", "DynamicUser", "RootDirectory", "RootImage")
    if shown.get("RootDirectory") or shown.get("RootImage"):
        found.append("it has a root folder of its own (RootDirectory=, RootImage=)")
    if unit.get("DefaultDependencies") == "no":
        found.append("it starts before the state folder can be read (DefaultDependencies=no)")
    # What a process says of its arguments may be a lie (prctl(2), PR_SET_MM).  It is taken for
    # what will run as the same user, never as more.
    if shown.get("DynamicUser") != "yes" and process.uid(main) != process.uid_of(
        shown.get("User") or "root"
    ):
        found.append("QEMU has changed its user itself (way out: User= in the unit)")
    others = [pid for pid in _pids(unit.get("ControlGroup", "")) if pid != main]
    if others:
        named = ", ".join(f"{process.name(pid)} ({pid})" for pid in others)
        found.append(f"its unit has other processes, which would be lost: {named}")
    return found


def _pids(control_group: str) -> list[int]:
    return cgroup.pids(cgroup.folder(control_group))


def _monitor(pid: int, argv: list[str]) -> qmp.Monitor:
    sockets = [files.as_seen_by(pid, path) for path in cmdline.qmp_sockets(argv)]
    return qmp.first_free(sockets, pid)


# --- save, and undoing it ---


def hold_files(workload: Workload) -> dict[str, str]:
    if workload.verdict is not Verdict.CARRIED:
        return {}
    return {f"{workload.name}.d/{unitrestore.HOLD_DROPIN}": HOLD}


def save(workload: Workload, artifacts: Path, mark: Marker) -> None:
    if workload.verdict is not Verdict.CARRIED:
        return
    main = workload.facts["main"]
    try:
        argv = cmdline.of_process(main)
        with _monitor(main, argv) as monitor:
            seen = guest.carriable(monitor, main, argv)
            try:
                snapshot.take(monitor, artifacts, seen.ram, mark)
                _record(workload, artifacts, argv, seen)
            except (LiveUpdateError, OSError):
                snapshot.undo(monitor, artifacts)
                raise
    except (LiveUpdateError, OSError) as error:
        raise SaveFailed(f"{workload.name} could not be saved", str(error)) from error
    mark(SAVED)


def _record(workload: Workload, artifacts: Path, argv: list[str], seen: guest.Look) -> None:
    """What the launcher and `boot_files` need."""
    main, state = workload.facts["main"], artifacts / snapshot.STATE
    digest = instructions.write(
        artifacts,
        {
            "qmp": cmdline.qmp_sockets(argv),
            "settings": snapshot.read_settings(artifacts),
            "files": {state.name: files.fingerprint(state)},
            "images": {path: files.identity(path) for path in seen.images},
            "ram": {path: files.identity(path) for path in seen.ram},
        },
    )
    workload.bytes = state.stat().st_size
    unit = systemd.show_one(workload.name, "Type")
    workload.saved = {
        "launch": digest,
        "argv": [process.program(main), *cmdline.again(argv, seen.machine)[1:]],
        # Whatever the unit starts QEMU by (a script, say) may have a protocol of its own.
        "type": "forking" if unit.get("Type") == "forking" else "exec",
    }


def commit(workload: Workload) -> None:
    """Kill QEMU: since the save it has closed its images and has nothing more to do."""
    if workload.facts["main"] in _members(workload):
        cgroup.kill(cgroup.folder(workload.facts["cgroup"]))


def _members(workload: Workload) -> list[int]:
    return _pids(workload.facts["cgroup"])


def resume(workload: Workload, artifacts: Path) -> None:
    if workload.verdict is not Verdict.CARRIED:
        return
    main = workload.facts["main"]
    if main in _members(workload):
        if snapshot.read_settings(artifacts) is not None:
            with _monitor(main, cmdline.of_process(main)) as monitor:
                snapshot.undo(monitor, artifacts)
    elif workload.saved:
        unitrestore.prepare(workload.name)  # of an earlier try in this boot nothing may be left
        dropins = boot_files(workload, artifacts)
        unitrestore.in_place(workload.name, dropins, workload.facts["files"], _no_more)
    else:
        raise ServiceError(f"{workload.name} is gone and was not saved")


# --- restore ---


def boot_files(workload: Workload, artifacts: Path) -> dict[str, str]:
    """The drop-in that makes the unit's next start the restore."""
    if not workload.saved:
        return {}
    work = unitrestore.folder(workload.name)
    arguments = f"{artifacts} {workload.saved['launch']} {work}"
    limit_s = unitrestore.START_LIMIT_S + workload.bytes // LOAD_BYTES_PER_S
    # The launcher has full privileges (+), QEMU those of the unit.
    text = f"""\
# Written by liveupdated: this once QEMU starts with the state that was saved.
{unitrestore.until_settled(workload.name)}[Unit]
After={paths.RESTORE_UNIT}
[Service]
StartupCPUWeight={workload.restore_weight}
Type={workload.saved["type"]}
ExecStartPre=+{paths.LIBEXEC}/restore-machine check {arguments}
ExecStart=
ExecStart={cmdline.exec_line(workload.saved["argv"])}
ExecStartPost=+{paths.LIBEXEC}/restore-machine load {arguments}
ExecStopPost=+/usr/bin/touch {work}/failed
{unitrestore.AFRESH}TimeoutStartSec={limit_s}
"""
    return {f"{workload.name}.d/{unitrestore.DROPIN}": text}


def prepare(workload: Workload, artifacts: Path) -> None:
    """Make the empty folder in which the restore of this unit tells how it goes."""
    unitrestore.prepare(workload.name)


def restore(workload: Workload, artifacts: Path, mark: Marker) -> Result:
    if not workload.saved:
        return _afresh(workload, workload.reason)
    if workload.facts["start"]:
        unitfiles.start(workload.name, workload.facts["files"])
    outcome, reason = unitrestore.watch(workload.name, _no_more)
    if outcome is not Outcome.CARRIED:
        mark(RUNNING)
    marks = launch.read_marks(unitrestore.folder(workload.name), workload.id)
    return Result(outcome, reason, marks)


def restart(workload: Workload) -> Result:
    """Memory is gone; boot starts the service by itself, or it is started like any other unit."""
    return _afresh(workload, "its memory is lost: the machine did not come by this jump")


def _afresh(workload: Workload, reason: str) -> Result:
    facts = workload.facts
    return Result(*unitrestore.afresh(workload.name, facts["start"], facts["files"], reason))


def settle() -> None:
    """Nothing was held: each drop-in ends with its unit's start."""


def _no_more(folder: Path) -> str:
    """All that is known about a failure is in the launcher's words."""
    return ""
