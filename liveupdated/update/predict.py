# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an update will take, from what rehearsals and updates of this host have taken."""

from collections.abc import Iterable
from dataclasses import dataclass

from liveupdated.session import Outcome, Session, State, Verdict, Workload
from liveupdated.timeline.marks import CLAIMED, FROZEN, RESUMING, RUNNING, SAVE_END

STOP_COST_US = 4_000_000
"""From the old kernel's last mark to the new one's first instruction, before the first measured
update of this host."""


@dataclass(frozen=True)
class Cost:
    """What carrying a workload took, without the jump."""

    time_us: int
    bytes: int


def jump_us(sessions: Iterable[Session], to_restore_us: int, stop: str) -> int:
    """Time from the end of the save to the claim, as the newest update of this host took, one with
    that `stop` if there is any.

    `sessions` are newest first.  Before the first update it is `to_restore_us`, the time from the
    start of this boot's kernel to the moment when a restore would have begun, and a guess for the
    stop.
    """
    for session in sorted(sessions, key=lambda session: session.stop != stop):
        moments = _moments(session, "")
        if session.state is State.CONFIRMED and {SAVE_END, CLAIMED} <= moments.keys():
            return max(moments[CLAIMED] - moments[SAVE_END], 0)
    return STOP_COST_US + to_restore_us


def costs(sessions: Iterable[Session]) -> dict[str, Cost]:
    """What the newest rehearsal or update with each workload took, by its id; newest first."""
    found: dict[str, Cost] = {}
    for session in sessions:
        for workload in session.workloads:
            time_us = _time_us(session, workload)
            if time_us is not None and workload.id not in found:
                found[workload.id] = Cost(time_us, workload.bytes)
    return found


def _time_us(session: Session, workload: Workload) -> int | None:
    """Frozen, until all were saved, and from the way back to running."""
    at = _moments(session, workload.id)
    whole = _moments(session, "")
    if session.state is State.REHEARSED and workload.verdict is Verdict.CARRIED:
        back = at.get(RESUMING)
    elif session.state is State.CONFIRMED and workload.outcome is Outcome.CARRIED:
        back = whole.get(CLAIMED)
    else:
        return None
    frozen, running, saved = at.get(FROZEN), at.get(RUNNING), whole.get(SAVE_END)
    if frozen is None or running is None or saved is None or back is None:
        return None
    return max(saved - frozen, 0) + max(running - back, 0)


def _moments(session: Session, workload_id: str) -> dict[str, int]:
    """The marks of a workload, or with an empty id of the whole: name to CLOCK_REALTIME."""
    return {mark.name: mark.realtime_us for mark in session.marks if mark.workload == workload_id}
