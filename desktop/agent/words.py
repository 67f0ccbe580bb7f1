# SPDX-License-Identifier: LGPL-2.1-or-later
"""What people read: from the daemon's properties to a notification.  Pure functions."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LOW, NORMAL, CRITICAL = 0, 1, 2
"""Urgencies of the Desktop Notifications Specification."""

UPDATE, TONIGHT, DETAILS, POSTPONE, CANCEL = "update", "tonight", "details", "postpone", "cancel"
CLICK = "default"
"""Keys of actions; the last is a click on the notification itself.  Xfce's server has a button for
that too, if it has a label."""

ENDS = ("confirmed", "degraded", "missed", "abandoned")
"""States of a session that somebody may want to know of; of a rehearsal nobody does."""
_NOT_BACK = ("failed", "lost")
_MOST_NAMES = 5
_DETAILS = ((DETAILS, "Details"), (CLICK, ""))


@dataclass(frozen=True)
class Notice:
    """A notification."""

    title: str
    body: str
    actions: tuple[tuple[str, str], ...] = ()
    """Key and label of each."""
    urgency: int = NORMAL

    def without_details(self) -> "Notice":
        """For where there is no window that shows them."""
        kept = tuple(action for action in self.actions if action not in _DETAILS)
        return dataclasses.replace(self, actions=kept)


def staged(kernel: str) -> Notice:
    """A kernel is loaded, and nobody has said when to change to it."""
    return Notice(
        f"Linux {kernel} is ready",
        "The system can move onto it now, and programs that can be carried keep their memory.",
        ((UPDATE, "Update Now"), (TONIGHT, "Tonight"), *_DETAILS),
    )


def postponed() -> Notice:
    """The hour is over."""
    return Notice(
        "The update was postponed",
        "The system still waits for its new kernel.",
        ((UPDATE, "Update Now"), (TONIGHT, "Tonight"), *_DETAILS),
    )


def starting(seconds: float, busy: Sequence[str], cancellable: bool) -> Notice:
    """An update that was not asked for here begins."""
    if busy:
        when = "It waits a little for: " + "; ".join(busy) + "."
    else:
        when = f"It starts in {seconds:.0f} seconds."
    return Notice(
        "The system moves onto another kernel",
        f"{when} Programs that cannot be carried end: save your work.",
        ((POSTPONE, "Postpone"), (CANCEL, "Cancel")) if cancellable else (),
        CRITICAL,
    )


def refused(why: str) -> Notice:
    """What was asked for here did not happen."""
    return Notice("The system was not updated", why, _DETAILS)


def ended(session: Mapping[str, Any]) -> Notice | None:
    """What became of an update; None where there is nothing to tell."""
    state = session["State"]
    if state == "confirmed":
        title = f"Updated to Linux {session['ArrivalKernel']}"
    elif state == "degraded":
        title = f"Updated to Linux {session['ArrivalKernel']}, with problems"
    elif state == "missed":
        title = f"The update to Linux {session['TargetKernel']} did not arrive"
    elif state == "abandoned":
        return refused(session["Reason"])
    else:
        return None
    missing = _missing(session["Workloads"])
    calm = state == "confirmed" and not missing
    lines = [session["Reason"], _back(session["Outcomes"]), missing]
    return Notice(
        title,
        "\n".join(line for line in lines if line),
        _DETAILS,
        LOW if calm else NORMAL,
    )


def _back(outcomes: Mapping[str, int]) -> str:
    parts = [
        f"{count} {outcome}"
        for outcome, count in sorted(outcomes.items())
        if count and outcome not in _NOT_BACK
    ]
    return f"Back: {', '.join(parts)}." if parts else ""


def _missing(workloads: Sequence[Mapping[str, Any]]) -> str:
    names = [
        f"{workload['name']} ({workload['outcome-reason'] or workload['outcome']})"
        for wanted in _NOT_BACK
        for workload in workloads
        if workload["outcome"] == wanted
    ]
    more = [f"and {len(names) - _MOST_NAMES} more"] if len(names) > _MOST_NAMES else []
    return f"Not back: {'; '.join(names[:_MOST_NAMES] + more)}." if names else ""
