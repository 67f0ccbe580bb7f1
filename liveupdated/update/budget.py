# SPDX-License-Identifier: LGPL-2.1-or-later
"""The budget of a blackout, while it is being spent: what is frozen waits for all that is saved
after it, and then for the jump."""

import time

from liveupdated.errors import BudgetExceeded
from liveupdated.session import Session, Workload
from liveupdated.timeline.marks import FROZEN


def refuse_if_exceeded(session: Session, workload: Workload) -> None:
    """Raises BudgetExceeded when, with `workload` next or just saved, the blackout of what has been
    frozen longest would exceed the session's limit."""
    frozen = [mark for mark in session.marks if mark.name == FROZEN]
    if not (session.max_blackout_us and frozen):
        return
    first = min(frozen, key=lambda mark: mark.boottime_us)
    now_us = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    blackout_us = now_us - first.boottime_us + session.predicted_jump_us
    if blackout_us > session.max_blackout_us:
        raise BudgetExceeded(
            f"the blackout would be longer than {session.max_blackout_us / 1e6:.1f} s",
            f"{first.workload} would stand still for {blackout_us / 1e6:.1f} s, "
            f"with the save at {workload.id}",
            "carry less, or allow more",
        )
