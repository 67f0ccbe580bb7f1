# SPDX-License-Identifier: LGPL-2.1-or-later
"""The budget of a blackout, while it is being spent: what is frozen waits for all that is saved
after it, and then for the jump."""

import time

from liveupdated.errors import BudgetExceeded
from liveupdated.session import Session
from liveupdated.timeline.marks import FROZEN

END = "its end"


def refuse_if_exceeded(session: Session, reached: str) -> None:
    """Raises BudgetExceeded when the blackout of one that is frozen would exceed the session's
    limit or its own.

    `reached` is where the save is: END, or the id of the workload that is next or just saved.
    """
    own = {each.id: each.max_blackout_us for each in session.workloads}
    now_us = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    for mark in sorted(session.marks, key=lambda mark: mark.boottime_us):
        limits = [us for us in (session.max_blackout_us, own.get(mark.workload, 0)) if us]
        if mark.name != FROZEN or not limits:
            continue
        blackout_us = now_us - mark.boottime_us + session.predicted_jump_us
        if blackout_us > min(limits):
            raise BudgetExceeded(
                f"the blackout would be longer than {min(limits) / 1e6:.1f} s",
                f"{mark.workload} would stand still for {blackout_us / 1e6:.1f} s, "
                f"with the save at {reached}",
                "carry less, or allow more",
            )
