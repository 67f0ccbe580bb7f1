# SPDX-License-Identifier: LGPL-2.1-or-later
"""Long work as jobs: with progress, cancellable, and one at a time.

Modelled on the jobs of org.freedesktop.systemd1(5): a number, a sign when one is new, a sign with a
result when it is over.
"""

import asyncio
import functools
import logging
from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import Any

from liveupdated.errors import Busy, Cancelled, LiveUpdateError, NotFound
from liveupdated.update.events import Listener

log = logging.getLogger(__name__)

Work = Coroutine[Any, Any, None]


class JobResult(StrEnum):
    """How a job ended, in the words of systemd's jobs."""

    DONE = "done"
    FAILED = "failed"
    CANCELED = "canceled"


class Job:
    """One piece of long work.  Whoever does the work calls `progress` and `step`."""

    def __init__(self, number: int, kind: str, listener: Listener) -> None:
        self.id = number
        self.kind = kind
        """`stage`, `update`, `rehearse`, `rollback`, `unstage` or `operator`."""
        self.step = ""
        """What is being done now, in a few words."""
        self.progress = 0.0
        """0 to 1 of the current step."""
        self.session = ""
        """Id of the session it works on; empty while there is none."""
        self.result: JobResult | None = None
        self.error: LiveUpdateError | None = None
        self.no_return = ""
        """Why it cannot be cancelled any more; empty while it can."""
        self._listener = listener
        self._task: asyncio.Task[None] | None = None
        self._cancelling = False

    def report(self, done: int, total: int, text: str) -> None:
        """Say how far the work is: `done` of `total` of any unit, and a few words."""
        progress = min(max(done / total, 0.0), 1.0) if total > 0 else 0.0
        changed = []
        if text != self.step:
            self.step = text
            changed.append("Step")
        if progress != self.progress:
            self.progress = progress
            changed.append("Progress")
        if changed:
            self._listener.job_changed(self, *changed)

    def works_on(self, session_id: str) -> None:
        """The session exists now."""
        self.session = session_id
        self._listener.job_changed(self, "Session")

    def pass_no_return(self, why: str) -> None:
        """From here on `cancel` is refused, with `why` as the reason.

        Raises Cancelled when somebody already cancelled: the two cannot overtake each other.
        """
        if self._cancelling:
            raise Cancelled(f"the {self.kind} job was cancelled")
        self.no_return = why
        self._listener.job_changed(self, "Cancellable")

    @property
    def cancellable(self) -> bool:
        return not self.no_return and self.result is None

    def cancel(self) -> None:
        """Ask the work to stop and undo what it did.  It may take a while; JobRemoved tells.

        Raises Busy when it is too late.  A second cancel does nothing: the undoing goes on.
        """
        if self.result is not None:
            raise NotFound(f"job {self.id} is over")
        if self.no_return:
            raise Busy(f"the {self.kind} job cannot be cancelled any more", self.no_return)
        if self._task is not None and not self._cancelling:
            self._cancelling = True
            self._task.cancel()

    async def wait(self) -> None:
        """Until it is over.  Raises its error, Cancelled when somebody cancelled it."""
        if self._task is not None:
            await asyncio.wait([self._task])
        if self.error is not None:
            raise self.error


class Jobs:
    """The jobs of this daemon: one at a time changes the host."""

    def __init__(self) -> None:
        self.listener = Listener()
        self.current: Job | None = None
        self._number = 0

    def start(self, kind: str, work: Callable[[Job], Work]) -> Job:
        """Run `work` as a job, from the next turn of the event loop on.

        Raises Busy, naming the job under way, when there is one.
        """
        self.refuse_if_busy()
        self._number += 1
        job = Job(self._number, kind, self.listener)
        self.current = job
        job._task = asyncio.get_running_loop().create_task(work(job))
        # Not a wrapper coroutine with a finally: a task that is cancelled before its first step
        # never enters its body.
        job._task.add_done_callback(functools.partial(self._over, job))
        self.listener.job_new(job)
        return job

    def refuse_if_busy(self) -> None:
        """Raises Busy, naming the job under way, when there is one."""
        if self.current is not None:
            raise Busy(
                f"the {self.current.kind} job {self.current.id} is under way",
                self.current.step,
                "wait for it, or cancel it",
            )

    def _over(self, job: Job, task: asyncio.Task[None]) -> None:
        raised = None if task.cancelled() else task.exception()
        error: LiveUpdateError | None = None
        if task.cancelled():
            error = Cancelled(f"the {job.kind} job was cancelled")
        elif isinstance(raised, LiveUpdateError):
            error = raised
        elif raised is not None:
            # What nobody foresaw goes to the journal with all its details, and to the caller
            # without.
            log.error("%s job %d failed unexpectedly", job.kind, job.id, exc_info=raised)
            error = LiveUpdateError(
                f"the {job.kind} job failed unexpectedly", "", "the journal has the details"
            )
        job.error = error
        if error is None:
            job.result = JobResult.DONE
        elif isinstance(error, Cancelled):
            job.result = JobResult.CANCELED
        else:
            log.warning("%s job %d failed: %s", job.kind, job.id, error)
            job.result = JobResult.FAILED
        self.current = None
        self.listener.job_removed(job)

    async def drain(self) -> None:
        """Cancel what can be cancelled and wait until it has undone its work.

        A job past its point of no return is not waited for: it ends with the host.
        """
        job = self.current
        if job is None or not job.cancellable:
            return
        job.cancel()
        if job._task is not None:
            await asyncio.wait([job._task])
