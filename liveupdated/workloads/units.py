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

from liveupdated import bootset, byhand, paths, systemd, unitrestore, unitwatch
from liveupdated.carry import UnitRule, declared
from liveupdated.errors import LiveUpdateError
from liveupdated.session import Json, Outcome, Verdict, Workload
from liveupdated.workloads import Marker, Result

if TYPE_CHECKING:
    from liveupdated.host import Host

KIND = "units"
RULE = UnitRule
STOPPED_DROPIN = "zzzz-liveupdated-stopped.conf"
RELEASED = paths.RUNTIME / "released"
"""There once the boot after the jump is done; from then on what was held back may be started."""
HELD = paths.RUNTIME / "held"
"""One empty file a unit that this boot was kept from starting: nothing else tells, later, that it
is stopped by hand."""

STOPPED = f"""\
# Written by liveupdated: this unit was stopped by hand before the jump, and this boot leaves it so.
{unitrestore.until(RELEASED)}[Unit]
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
    started = [name for name in byhand.found(host.units, host.boot) if name not in carried]
    for name in started:
        yield _workload(name, *byhand.judge(host.units, host.boot, name))
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
            how, facts = "comes with a unit started by hand", byhand.facts(host.units, name)
        reason = f"{how}; its memory is lost, its disk state stays"
        yield _workload(name, Verdict.RESTARTED, reason, facts)


# --- save: nothing is frozen here ---


def hold_files(workload: Workload) -> dict[str, str]:
    return {}


def save(workload: Workload, artifacts: Path, mark: Marker) -> None:
    """Look again whether it runs, and what is left of its time."""
    workload.saved = {}
    if "files" in workload.facts:
        workload.saved = byhand.look_again(workload.name, workload.facts)


def commit(workload: Workload) -> None:
    """The shutdown stops it like any unit."""


def resume(workload: Workload, artifacts: Path) -> None:
    """It was never frozen."""


# --- restore ---


def boot_files(workload: Workload, artifacts: Path) -> dict[str, str]:
    """What was stopped by hand is not started by the boot, until `settle`."""
    if not workload.facts.get("stopped"):
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
    try:
        if "files" in facts:
            return Result(*byhand.start_again(name, facts, workload.saved))
        return Result(*byhand.up(name, waits=bool(facts.get("waits"))))
    except LiveUpdateError as error:
        return Result(Outcome.FAILED, str(error))


def _stayed_stopped(name: str) -> Result:
    """Wait for the end of the boot's own job for it, which its condition keeps from starting it."""
    try:
        _note_held(name)
        unit = _watch.until(name, unitwatch.at_rest, byhand.START_LIMIT_S)
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
