# SPDX-License-Identifier: LGPL-2.1-or-later
"""What somebody asks of an update: the options of the bus methods, as one shape."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Request:
    """The options of Plan, Stage, Update, Rehearse and Rollback.  The defaults ask for nothing."""

    kernel: str = ""
    """Catalogue id; empty for the newest that is not blocked."""
    rung: str = ""
    """`soft-reboot`, `live-update` or `cold-reboot`; empty for the cheapest that does the job."""
    accept_loss: tuple[str, ...] = ()
    """Ids of workloads that may be lost; `*` for all of them."""
    max_blackout_us: int = 0
    """Do not jump when the predicted blackout is longer; 0 for the configuration's limit."""
    stop: str = ""
    """`quick` or `orderly`; empty for the configuration's."""
    when: str = ""
    """`now` (or empty), or `window`: the timer asks, whose time is the maintenance window."""
    append: str = ""
    """Words added to the new kernel's command line."""
    only: tuple[str, ...] = ()
    """Ids or names of the workloads to rehearse, or patterns; empty for all of them."""
