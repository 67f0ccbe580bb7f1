# SPDX-License-Identifier: LGPL-2.1-or-later
"""A unit that runs although boot alone would not start it: its verdict, and its start after a boot.

Of whichever manager this process talks to (`liveupdated.systemd`): the system's or a user's.
Standard library only: used on the restore path.
"""

import os

from liveupdated import bootset, systemd, timers, unitfiles, unitwatch
from liveupdated.session import Json, Outcome, Verdict

START_LIMIT_S = 180.0

_watch = unitwatch.Watch()


# --- what becomes of it ---


def found(units: bootset.Units, boot: bootset.BootSet) -> list[str]:
    """The names of those units."""
    return [name for name in bootset.by_hand(units, boot) if not _is_over(units[name])]


def _is_over(unit: systemd.Properties) -> bool:
    """A transient timer with no time to come: it is there while its service runs, then it goes."""
    timer = timers.pending(unit) if unit.get("Transient") == "yes" else None
    return timer is not None and not timer["left_us"] and not timer["goes_on"]


def judge(
    units: bootset.Units, boot: bootset.BootSet, name: str
) -> tuple[Verdict, str, dict[str, Json]]:
    """Verdict, reason, and the facts that `start_again` needs."""
    unit = units[name]
    if unit.get("LoadState") != "loaded" and unit.get("UnitFileState") != "masked-runtime":
        reason = f"its unit file is {unit.get('LoadState')}: nothing can start it again"
        return Verdict.LOST, reason, {}
    if unit.get("Transient") == "yes" and _belongs_to_a_client(unit):
        reason = "systemd-run --pty or --pipe: it ends with the terminal or pipe that it serves"
        return Verdict.LOST, reason, {}
    trigger = boot.on_demand.get(name, "")
    reason = f"{_how_started(name, unit, trigger)}; {_what_it_keeps(name, unit)}"
    return Verdict.RESTARTED, reason, facts(units, name)


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


def facts(units: bootset.Units, name: str) -> dict[str, Json]:
    """All that a restart needs: the files that a boot drops, also those of the transient units that
    this one triggers or pulls in, and when a transient timer is due."""
    files: dict[str, str] = {}
    for each in (name, *bootset.companions(units, name)):
        if each == name or bootset.volatile(units[each]):
            files |= unitfiles.unit_files(units[each])
    found: dict[str, Json] = {"files": files}
    if units[name].get("Transient") == "yes" and (timer := timers.pending(units[name])):
        found["timer"] = timer
    return found


# --- and how it comes back ---


def look_again(name: str, facts: dict[str, Json]) -> dict[str, Json]:
    """Whether it still runs, for `start_again`; what is left of its time goes into `facts`."""
    unit = systemd.show_one(name, "ActiveState", "TimersMonotonic", "TimersCalendar")
    ended = unit.get("ActiveState") not in bootset.RUNNING
    if "timer" in facts and not ended:
        facts["timer"] = timers.pending(unit)
    return {"ended": ended}


def start_again(
    name: str, facts: dict[str, Json], seen: dict[str, Json] | None
) -> tuple[Outcome, str]:
    """Put its files back and start it; `seen` is what `look_again` said.  Raises ServiceError."""
    if (seen or {}).get("ended"):
        return Outcome.RESTARTED, "it had come to its end before the jump"
    files = dict(facts["files"])
    if facts.get("timer"):
        path = f"{unitfiles.TRANSIENT}/{name}.d/{unitfiles.REMAINING_DROPIN}"
        files[path] = timers.dropin(facts["timer"])
    unitfiles.start(name, files)
    return up(name)


def up(name: str, *, waits: bool = False) -> tuple[Outcome, str]:
    """Wait until the unit's start is over; `waits`: it may also be started later, on demand."""
    unit = _watch.until(
        name, lambda unit: unitwatch.runs(unit) or unitwatch.at_rest(unit), START_LIMIT_S
    )
    if unitwatch.runs(unit):
        return Outcome.RESTARTED, ""
    if waits:
        return Outcome.RESTARTED, "it starts when it is asked for"
    if unit.get("ActiveState") == "inactive" and unitwatch.ran(unit):
        return Outcome.RESTARTED, "it has come to its end since"
    return Outcome.FAILED, _why_not(unit)


def _why_not(unit: systemd.Properties) -> str:
    if unit.get("ActiveState") == "failed":
        return f"it failed ({unit.get('Result')})"
    if unit.get("ConditionResult") == "no":
        return "a condition in its unit file is not met"
    if unitwatch.at_rest(unit):
        return "it was not started, because of a unit that it needs"
    return f"not up after {START_LIMIT_S:.0f} s ({unit.get('SubState')}, {unit.get('Result')})"
