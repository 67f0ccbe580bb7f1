# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the layers below the bus tell the one above, without knowing it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from liveupdated.session import Session, Workload

if TYPE_CHECKING:
    from liveupdated.update.jobs import Job


class Listener:
    """Hears of every change; this one does nothing with it.

    The API overrides all of it.  Called in the event loop's thread; must not block.
    """

    def changed(self, *names: str) -> None:
        """Properties of the manager changed, named as on the bus (``State``, ``StagedKernel``)."""

    def kernels_changed(self) -> None:
        """The catalogue may have others now: it will be read again."""

    def workloads_changed(self, workloads: Sequence[Workload]) -> None:
        """These were found just now; the ones from before are history."""

    def session_changed(self, session: Session) -> None:
        """`session` is new or has come further."""

    def session_removed(self, session_id: str) -> None:
        """The record of that session was deleted."""

    def session_finished(self, session: Session) -> None:
        """`session` reached one of its ends; called after `session_changed`."""

    def prepare_for_update(self, before: bool) -> None:
        """True just before workloads are frozen, False when the update is over or abandoned."""

    def job_new(self, job: "Job") -> None:
        """`job` was started."""

    def job_changed(self, job: "Job", *names: str) -> None:
        """Properties of `job` changed, named as on the bus (``Progress``, ``Step``)."""

    def job_removed(self, job: "Job") -> None:
        """`job` is over: it has a result."""

    def inhibitors_changed(self) -> None:
        """Somebody took or released an inhibitor."""
