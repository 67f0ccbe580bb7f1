# SPDX-License-Identifier: LGPL-2.1-or-later
"""Units: what runs although boot alone would not start it, and what is stopped although it would.

What was started by hand is started again, transient units with all their properties; what was
stopped by hand stays stopped.  Services that start with the boot are listed too, so that the plan
can say what becomes of them.  No memory is carried here: see `liveupdated.workloads.services`.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from liveupdated import bootset, paths, systemd, timers, unitfiles, unitwatch
from liveupdated.carry import UnitRule, declared
from liveupdated.errors import LiveUpdateError
from liveupdated.session import Json, Outcome, Verdict, Workload
from liveupdated.workloads import Marker, Result

if TYPE_CHECKING:
    from liveupdated.host import Host

KIND = "units"
RULE = UnitRule
START_LIMIT_S = 180.0
STOPPED_DROPIN = "zzzz-liveupdated-stopped.conf"
RELEASED = paths.RUNTIME / "released"
"""There once the boot after the jump is done; from then on what was held back may be started."""
HELD = paths.RUNTIME / "held"
"""One empty file a unit that this boot was kept from starting: nothing else tells, later, that it
is stopped by hand."""

STOPPED = f"""\
# Written by liveupdated: this unit was stopped by hand before the jump, and this boot leaves it so.
[Unit]
ConditionPathExists={RELEASED}
"""

_watch = unitwatch.Watch()


# --- find ---


def find(host: "Host") -> Iterable[Workload]:
    """Units started by hand, units stopped by hand, and services that come with the boot."""
    for workload in _find(host):
        if why := host.not_carried.get(workload.name):
            workload.reason = f"not carried: {why}; {workload.reason}"
        workload.candidate = host.candidates.get(workload.name, "")
        yield workload


def _find(host: "Host") -> Iterator[Workload]:
    carried = (declared(host).keys() - host.not_carried.keys()) | host.spoken_for
    started = [
        name
        for name in bootset.by_hand(host.units, host.boot)
        if name not in carried and not _is_over(host.units[name])
    ]
    yield from (_started_by_hand(host, name) for name in started)
    for name in bootset.stopped_by_hand(host.units, host.boot, _held()):
        yield _workload(name, Verdict.CARRIED, "stopped by hand: stays stopped", {"stopped": True})
    yield from _boot_started(host, {*started, *carried})


def _held() -> set[str]:
    try:
        return set(os.listdir(HELD))
    except FileNotFoundError:
        return set()


def _workload(name: str, verdict: Verdict, reason: str, facts: dict[str, Json]) -> Workload:
    return Workload(f"{KIND}:{name}", KIND, name, verdict, reason, facts=facts)


def _is_over(unit: systemd.Properties) -> bool:
    """A transient timer with no time to come: it is there while its service runs, then it goes."""
    timer = timers.pending(unit) if unit.get("Transient") == "yes" else None
    return timer is not None and not timer["left_us"] and not timer["goes_on"]


def _started_by_hand(host: "Host", name: str) -> Workload:
    unit = host.units[name]
    if unit.get("LoadState") != "loaded" and unit.get("UnitFileState") != "masked-runtime":
        reason = f"its unit file is {unit.get('LoadState')}: nothing can start it again"
        return _workload(name, Verdict.LOST, reason, {})
    if unit.get("Transient") == "yes" and _belongs_to_a_client(unit):
        reason = "systemd-run --pty or --pipe: it ends with the terminal or pipe that it serves"
        return _workload(name, Verdict.LOST, reason, {})
    trigger = host.boot.on_demand.get(name, "")
    reason = f"{_how_started(name, unit, trigger)}; {_what_it_keeps(name, unit)}"
    return _workload(name, Verdict.RESTARTED, reason, _facts(host.units, name))


def _how_started(name: str, unit: systemd.Properties, trigger: str) -> str:
    if unit.get("Transient") == "yes":
        return "a transient unit (systemd-run), started again with the same properties"
    if bootset.volatile(unit):
        return "its unit file is in /run: that is put back, and it is started again"
    if trigger:
        return f"it runs because {trigger} fired: started again, from its beginning"
    if "@" in name:
        return "an instance of a template that boot alone would not start: started again"
    return "started by hand, boot alone would not start it: started again"


def _what_it_keeps(name: str, unit: systemd.Properties) -> str:
    if name.endswith(".service"):
        return "its memory is lost, its disk state stays"
    if timers.pending(unit) is None:
        return "it has no memory to lose"
    if unit.get("Transient") == "yes":
        return "the time it has left goes on running"
    return "its time runs anew from the start"


def _belongs_to_a_client(unit: systemd.Properties) -> bool:
    """Whether a waiting systemd-run (it holds a reference) has given the service its stdio.

    systemd does not report descriptors that it was handed, so the process's own are looked at.
    """
    if not unit.get("Refs"):
        return False
    if unit.get("TTYPath", "").startswith("/dev/pts/"):
        return True
    return any(
        target and target != "/dev/null" and not target.startswith("socket:")
        for target in map(_descriptor, [unit.get("MainPID", "0")] * 3, (0, 1, 2))
    )


def _descriptor(pid: str, number: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/fd/{number}")
    except OSError:
        return ""


def _facts(units: bootset.Units, name: str) -> dict[str, Json]:
    """All that a restart needs: the files that a boot drops, also those of the transient units that
    this one triggers or pulls in, and when a transient timer is due."""
    files: dict[str, str] = {}
    for each in (name, *bootset.companions(units, name)):
        if each == name or bootset.volatile(units[each]):
            files |= unitfiles.unit_files(units[each])
    facts: dict[str, Json] = {"files": files}
    if units[name].get("Transient") == "yes" and (timer := timers.pending(units[name])):
        facts["timer"] = timer
    return facts


def _boot_started(host: "Host", others: set[str]) -> Iterator[Workload]:
    for name, unit in sorted(host.units.items()):
        if (
            not name.endswith(".service")
            or unit.get("SubState") != "running"
            or name in others
            or bootset.plumbing(name)
        ):
            continue
        if name in host.boot.started:
            how, facts = "starts with the boot", {"boot": True}
        elif trigger := host.boot.on_demand.get(name):
            how, facts = f"starts when {trigger} asks for it", {"waits": True}
        else:  # another unit's start brings it back; its own is for seeing whether that was so
            how, facts = "comes with a unit started by hand", _facts(host.units, name)
        reason = f"{how}; its memory is lost, its disk state stays"
        yield _workload(name, Verdict.RESTARTED, reason, facts)


# --- save: nothing is frozen here ---


def hold_files(workload: Workload) -> dict[str, str]:
    return {}


def save(workload: Workload, artifacts: Path, mark: Marker) -> None:
    """Look again whether it runs, and what is left of its time."""
    workload.saved = {}
    if "files" not in workload.facts:
        return
    unit = systemd.show_one(workload.name, "ActiveState", "TimersMonotonic", "TimersCalendar")
    workload.saved["ended"] = unit.get("ActiveState") not in bootset.RUNNING
    if "timer" in workload.facts and not workload.saved["ended"]:
        workload.facts["timer"] = timers.pending(unit)


def commit(workload: Workload) -> None:
    """The shutdown stops it like any unit."""


def resume(workload: Workload, artifacts: Path) -> None:
    """It was never frozen."""


# --- restore ---


def boot_files(workload: Workload, artifacts: Path) -> dict[str, str]:
    """What was stopped by hand is not started by the boot, until `settle`."""
    if not workload.facts.get("stopped") or RELEASED.exists():
        return {}
    return {f"{workload.name}.d/{STOPPED_DROPIN}": STOPPED}


def prepare(workload: Workload, artifacts: Path) -> None:
    """Its files are put back by `restore`: they can wait until the boot goes on."""


def restore(workload: Workload, artifacts: Path, mark: Marker) -> Result:
    if workload.facts.get("stopped"):
        return _stayed_stopped(workload.name)
    return _bring_back(workload)


def restart(workload: Workload) -> Result:
    """As after our jump, but that nothing has kept the boot from what was stopped."""
    if workload.facts.get("stopped"):
        return _stop_again(workload.name)
    return _bring_back(workload)


def settle() -> None:
    """What was held back from the boot may be started from now on."""
    RELEASED.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    RELEASED.touch()


def _bring_back(workload: Workload) -> Result:
    name, facts = workload.name, workload.facts
    if workload.verdict is Verdict.LOST:
        return Result(Outcome.LOST, workload.reason)
    try:
        if "files" in facts:
            if (workload.saved or {}).get("ended"):
                return Result(Outcome.RESTARTED, "it had come to its end before the jump")
            files = dict(facts["files"])
            if facts.get("timer"):
                path = f"{unitfiles.TRANSIENT}/{name}.d/{unitfiles.REMAINING_DROPIN}"
                files[path] = timers.dropin(facts["timer"])
            unitfiles.start(name, files)
        return _outcome(name, facts)
    except LiveUpdateError as error:
        return Result(Outcome.FAILED, str(error))


def _stayed_stopped(name: str) -> Result:
    """Wait for the end of the boot's own job for it, which its condition keeps from starting it."""
    try:
        _note_held(name)
        unit = _watch.until(name, unitwatch.at_rest, START_LIMIT_S)
    except LiveUpdateError as error:
        return Result(Outcome.FAILED, str(error))
    if unit.get("ActiveState") in ("inactive", "failed"):
        return Result(Outcome.CARRIED, "stopped by hand: stays stopped")
    return _stop_again(name)


def _stop_again(name: str) -> Result:
    try:
        _note_held(name)
        systemd.stop(name)
    except LiveUpdateError as error:
        return Result(Outcome.FAILED, str(error))
    return Result(Outcome.CARRIED, "stopped by hand: the boot would start it, stopped again")


def _note_held(name: str) -> None:
    HELD.mkdir(mode=0o700, parents=True, exist_ok=True)
    (HELD / name).touch()


def _outcome(name: str, facts: dict[str, Json]) -> Result:
    """Wait until the unit's start is over."""
    unit = _watch.until(
        name, lambda unit: unitwatch.runs(unit) or unitwatch.at_rest(unit), START_LIMIT_S
    )
    if unitwatch.runs(unit):
        return Result(Outcome.RESTARTED)
    if facts.get("waits"):
        return Result(Outcome.RESTARTED, "it starts when it is asked for")
    if unit.get("ActiveState") == "inactive" and unitwatch.ran(unit):
        return Result(Outcome.RESTARTED, "it has come to its end since")
    return Result(Outcome.FAILED, _why_not(unit))


def _why_not(unit: systemd.Properties) -> str:
    if unit.get("ActiveState") == "failed":
        return f"it failed ({unit.get('Result')})"
    if unit.get("ConditionResult") == "no":
        return "a condition in its unit file is not met"
    if unitwatch.at_rest(unit):
        return "it was not started, because of a unit that it needs"
    return f"not up after {START_LIMIT_S:.0f} s ({unit.get('SubState')}, {unit.get('Result')})"
