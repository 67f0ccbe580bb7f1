# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an update will take, from what rehearsals and updates of this host have taken."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from liveupdated.session import Outcome, Session, State, Verdict
from liveupdated.timeline.marks import CLAIMED, FROZEN, RESUMING, RUNNING, SAVE_END

STOP_COST_US = 4_000_000
"""From the old kernel's last mark to the new one's first instruction, before the first measured
update of this host."""

Moments = Mapping[str, int]
"""The marks of a workload: name to CLOCK_REALTIME."""


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
        moments = _all_moments(session).get("", {})
        if session.state is State.CONFIRMED and {SAVE_END, CLAIMED} <= moments.keys():
            return max(moments[CLAIMED] - moments[SAVE_END], 0)
    return STOP_COST_US + to_restore_us


def costs(sessions: Iterable[Session], processors: int) -> dict[str, Cost]:
    """What the newest rehearsal or update with each workload took, by its id; newest first."""
    found: dict[str, Cost] = {}
    for session in sessions:
        times_us = _times_us(session, processors)
        for workload in session.workloads:
            if workload.id in times_us:
                cost = Cost(times_us[workload.id], workload.bytes)
                found.setdefault(workload.id, cost)
    return found


def _times_us(session: Session, processors: int) -> dict[str, int]:
    """By id: frozen until all were saved, and from the way back to running."""
    moments = _all_moments(session)
    saved = moments.get("", {}).get(SAVE_END)
    if saved is None:
        return {}
    return {
        workload_id: max(saved - moments[workload_id][FROZEN], 0) + back_us
        for workload_id, back_us in _back_us(session, moments, processors).items()
        if FROZEN in moments[workload_id]
    }


def _back_us(session: Session, moments: Mapping[str, Moments], processors: int) -> dict[str, int]:
    """By id, the way back of each workload that came back with its memory."""
    if session.state is State.REHEARSED:
        alone = _alone_us(moments, processors)
        carried = {w.id for w in session.workloads if w.verdict is Verdict.CARRIED}
        return {workload_id: us for workload_id, us in alone.items() if workload_id in carried}
    claimed = moments.get("", {}).get(CLAIMED)
    if session.state is not State.CONFIRMED or claimed is None:
        return {}
    carried = {w.id for w in session.workloads if w.outcome is Outcome.CARRIED}
    return {
        workload_id: max(at[RUNNING] - claimed, 0)
        for workload_id, at in moments.items()
        if workload_id in carried and RUNNING in at
    }


def _alone_us(moments: Mapping[str, Moments], processors: int) -> dict[str, int]:
    """How long each was on its way back in a rehearsal, less what others took of the processors
    meanwhile: after a jump who was frozen first is back first, and waits less for others.

    An estimate: what waited for a disk, or for systemd, is counted as if for a processor.
    """
    spans = {
        workload_id: (at[RESUMING], max(at[RUNNING], at[RESUMING]))
        for workload_id, at in moments.items()
        if RESUMING in at and RUNNING in at
    }
    steps = [(start, 1) for start, _ in spans.values()] + [(end, -1) for _, end in spans.values()]
    # Until each of these moments: what one that is under way all the time has had of a processor.
    had: dict[int, float] = {}
    share, before, under_way = 0.0, 0, 0
    for moment, step in sorted(steps):
        if under_way:
            share += (moment - before) * min(1.0, processors / under_way)
        had[moment], before = share, moment
        under_way += step
    return {name: round(had[end] - had[start]) for name, (start, end) in spans.items()}


def _all_moments(session: Session) -> dict[str, dict[str, int]]:
    """By the id of the workload, with an empty one of the whole."""
    found: dict[str, dict[str, int]] = {}
    for mark in session.marks:
        found.setdefault(mark.workload, {})[mark.name] = mark.realtime_us
    return found
