# SPDX-License-Identifier: LGPL-2.1-or-later
"""The ledger: what a session's marks say about where the time went.

Top-level phases follow one another without gaps, so they add up to the whole.  A mark that is
missing does not make a phase up: the phases on both sides of it become one, ``stop+kexec``.
Sub-phases, ``kernel/smp``, lie within a phase and may overlap.
"""

import dataclasses
from dataclasses import dataclass
from itertools import pairwise

from liveupdated.session import Json, Session, State
from liveupdated.timeline import marks
from liveupdated.timeline.clocks import ClockStep, Scale, clock_steps, scale

__all__ = ["ClockStep", "Ledger", "Phase", "as_json", "clock_steps", "ledger", "phases"]

BLACKOUT = "blackout"
TURNAROUND = "turnaround"
"""Between save and restore of a session that stayed in its boot: a rehearsal."""
OUTAGE = "outage"
"""In place of `kexec` where the machine came back by another way."""

_CHAIN = (
    (marks.PLAN_START, "plan"),
    (marks.PLAN_END, "stage"),
    (marks.SAVE_START, "save"),
    (marks.SAVE_END, "stop"),
    (marks.STOPPED, "kexec"),
    (marks.KERNEL_START, "kernel"),
    (marks.INITRD_START, "initrd"),
    (marks.USERSPACE_START, "userspace"),
    (marks.RESTORE_START, "restore"),
    (marks.RESTORE_END, "health"),
    (marks.HEALTH_END, ""),
)
"""Each mark, and the phase that begins there."""

_AWAY = ("stop", "kexec", "kernel", "initrd", "userspace")

_PARTS = (
    ("stop/request", (marks.SAVE_END,), marks.JUMP_REQUESTED),
    # On an operator's road the request comes first and the save answers it.
    ("stop/commit", (marks.SAVE_END, marks.JUMP_REQUESTED), marks.COMMIT_END),
    ("stop/services", (marks.COMMIT_END,), marks.STOPPED),
    ("kernel/smp", (marks.SMP_START,), marks.SMP_END),
    ("kernel/deferred", (marks.DEFERRED_START,), marks.DEFERRED_END),
    ("kernel/initramfs", (marks.INITRAMFS_START,), marks.INITRAMFS_END),
    ("userspace/generators", (marks.GENERATORS_START,), marks.GENERATORS_END),
    ("userspace/units-load", (marks.UNITS_LOAD_START,), marks.UNITS_LOAD_END),
    # The one part that outlasts its phase: restore runs while the boot goes on.
    ("userspace/finish", (marks.USERSPACE_START,), marks.USERSPACE_FINISH),
    ("restore/claim", (marks.RESTORE_START,), marks.CLAIMED),
)
"""Name, the marks of which the latest begins it, the mark that ends it."""

_WORKLOAD_PARTS = (
    (BLACKOUT, marks.FROZEN, marks.RUNNING),
    (f"{BLACKOUT}/save", marks.FROZEN, marks.SAVED),
    (f"{BLACKOUT}/pause", marks.FROZEN, marks.PAUSED),
    (f"{BLACKOUT}/snapshot", marks.PAUSED, marks.SAVED),
    (f"{BLACKOUT}/kexec", marks.SAVED, marks.RETURNING),
    (f"{BLACKOUT}/restore", marks.RETURNING, marks.RETURNED),
    (f"{BLACKOUT}/resume", marks.RETURNED, marks.RUNNING),
)


@dataclass(frozen=True)
class Phase:
    """A span of the ledger; `start_us` is UTC, corrected for clock steps."""

    name: str
    start_us: int
    duration_us: int
    workload: str = ""
    """Its id, where the span is one workload's alone."""

    @property
    def top_level(self) -> bool:
        return not self.workload and "/" not in self.name


@dataclass(frozen=True)
class Ledger:
    """All that the marks of one session say."""

    session: str
    start_us: int
    """UTC; 0 while there are no marks."""
    duration_us: int
    """From the first mark of a top-level phase to the last: the sum of the top-level phases."""
    blackout_us: int
    """The longest blackout of a workload; 0 when none was frozen and came back."""
    predicted_blackout_us: int
    uncertainty_us: int
    phases: list[Phase]
    clock_steps: list[ClockStep]
    notes: list[str]


def ledger(session: Session) -> Ledger:
    """Everything at once; see the fields.  Never fails: an empty session has an empty ledger."""
    common = scale(session)
    found = phases(session)
    top = [phase for phase in found if phase.top_level]
    steps = clock_steps(session)
    return Ledger(
        session=session.id,
        start_us=top[0].start_us if top else 0,
        duration_us=sum(phase.duration_us for phase in top),
        blackout_us=max((p.duration_us for p in found if p.name == BLACKOUT), default=0),
        predicted_blackout_us=session.predicted_blackout_us,
        uncertainty_us=common.uncertainty_us,
        phases=found,
        clock_steps=steps,
        notes=common.notes + [_step_note(step) for step in steps],
    )


def as_json(session: Session) -> dict[str, Json]:
    """`ledger` as plain dicts and lists, the stable shape that leaves the program."""
    return dataclasses.asdict(ledger(session))


def phases(session: Session) -> list[Phase]:
    """The phases of the session so far: top-level ones in order, then their parts, then each
    workload's."""
    common = scale(session)
    found = _found(session, common)
    return [*_top(session, found), *_parts(found), *_of_workloads(session, found)]


@dataclass(frozen=True)
class _Moment:
    time: int
    boot_id: str


_Found = dict[tuple[str, str], _Moment]
"""(mark's name, workload) to its last occurrence: a step that was repeated counts as it ended."""


def _found(session: Session, common: Scale) -> _Found:
    origin = session.origin.boot_id
    found = {
        (mark.name, mark.workload): _Moment(common.time(mark), mark.boot_id)
        for mark in sorted(session.marks, key=common.time)
        # How the origin itself once booted is not part of the session.
        if mark.name not in marks.OF_A_BOOT or mark.boot_id != origin
    }
    # Any mark of the new boot tells when that boot's clock stood at 0; see clocks.py.
    restore = found.get((marks.RESTORE_START, ""))
    if restore and restore.boot_id != origin:
        begin = common.begins[restore.boot_id]
        found[marks.KERNEL_START, ""] = _Moment(begin, restore.boot_id)
    return found


def _top(session: Session, found: _Found) -> list[Phase]:
    present = [
        (place, found[mark, ""]) for place, (mark, _) in enumerate(_CHAIN) if (mark, "") in found
    ]
    made = []
    # Where marks contradict the order of the steps, the later step begins when the earlier ends.
    now = present[0][1].time if present else 0
    for (place, begin), (next_place, end) in pairwise(present):
        names = [name for _, name in _CHAIN[place:next_place]]
        same_boot = begin.boot_id == end.boot_id
        then = max(now, end.time)
        made.append(Phase(_merged(names, same_boot, session.state), now, then - now))
        now = then
    return made


def _merged(names: list[str], same_boot: bool, state: State) -> str:
    if same_boot and {"stop", "userspace"} <= set(names):
        names = [name for name in names if name not in _AWAY] + [TURNAROUND]
    if "kernel" in names and "userspace" not in names:
        # systemd told when userspace began, so it would have told of an initrd.
        names = [name for name in names if name != "initrd"]
    if state is State.MISSED:
        names = [OUTAGE if name == "kexec" else name for name in names]
    return "+".join(names)


def _parts(found: _Found) -> list[Phase]:
    made = []
    for name, begins, end in _PARTS:
        started = [found[begin, ""] for begin in begins if (begin, "") in found]
        ended = found.get((end, ""))
        if started and ended:
            made += _span(name, max(started, key=lambda moment: moment.time), ended)
    return made


def _of_workloads(session: Session, found: _Found) -> list[Phase]:
    ids = dict.fromkeys(mark.workload for mark in session.marks if mark.workload)
    made = []
    for workload in ids:
        for name, begin, end in _WORKLOAD_PARTS:
            started, ended = found.get((begin, workload)), found.get((end, workload))
            if started and ended:
                made += _span(name, started, ended, workload)
    return made


def _span(name: str, begin: _Moment, end: _Moment, workload: str = "") -> list[Phase]:
    """One phase, or none where the marks are not a span."""
    if end.time < begin.time:
        return []
    return [Phase(name, begin.time, end.time - begin.time, workload)]


def _step_note(step: ClockStep) -> str:
    return (
        f"the clock was set by {step.step_us / 1e6:+.3f} s between {step.after} and {step.before}; "
        "the spans are corrected for it"
    )
