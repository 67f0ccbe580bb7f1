# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the D-Bus face needs from below.

`liveupdated.update.coordinator.Coordinator` fits this shape; the bus tests use another one.  Every
method may raise any error of `liveupdated.errors`.  Whoever implements this calls its `listener`
when something changes; the face never polls.
"""

from collections.abc import Sequence
from typing import Protocol

from liveupdated.carriers import Carrier
from liveupdated.kernels.catalogue import Kernel
from liveupdated.session import Session, Workload
from liveupdated.update.events import Listener
from liveupdated.update.inhibit import Inhibitors
from liveupdated.update.jobs import Job, Jobs
from liveupdated.update.request import Request


class PlanInfo(Protocol):
    """The part of `liveupdated.update.plan.Plan` that shows on the bus."""

    @property
    def kernel(self) -> str:
        """Catalogue id of the target."""

    @property
    def release(self) -> str: ...
    @property
    def rung(self) -> str: ...
    @property
    def rung_reason(self) -> str: ...
    @property
    def blackout_us(self) -> int:
        """Predicted, of the workload that waits longest."""

    @property
    def bytes(self) -> int:
        """To be saved."""

    @property
    def carrier(self) -> Carrier:
        """Where the saved state would travel."""

    @property
    def stop(self) -> str:
        """How the old userspace would end."""

    @property
    def blockers(self) -> Sequence[str]:
        """Why an update would be refused now, a sentence each; empty when it would go ahead."""

    @property
    def workloads(self) -> Sequence[Workload]: ...
    @property
    def candidates(self) -> Sequence[tuple[str, str]]:
        """Names of services that would be worth carrying, each with the reason."""


class Backend(Protocol):
    """The coordinator, as the API sees it."""

    listener: Listener
    """Set once by the API; until then a `Listener()`, which does nothing."""

    @property
    def jobs(self) -> Jobs: ...
    @property
    def inhibitors(self) -> Inhibitors: ...

    # The manager's properties.  Plain and quick: read on every GetAll.

    @property
    def state(self) -> str:
        """`idle`, or what goes on: `staging`, `planning`, `saving`, `jumping`, `restoring`,
        `checking` (after the jump, before it is confirmed)."""

    @property
    def running_kernel(self) -> str:
        """Catalogue id of the running kernel; its release when the catalogue has no such image."""

    @property
    def staged_kernel(self) -> str:
        """Catalogue id of the loaded kernel; empty for none; `unknown` for a hand-loaded one."""

    @property
    def rung(self) -> str:
        """The cheapest rung that would bring this host up to date; empty when it is."""

    @property
    def reboot_required(self) -> bool: ...

    @property
    def next_update_us(self) -> int:
        """UTC; 0 when nothing is scheduled."""

    @property
    def last_session(self) -> str:
        """Id of the newest session, open or not; empty when there is none."""

    # Questions.

    async def kernels(self) -> Sequence[Kernel]:
        """What can be booted, newest first."""

    async def blocked(self) -> Sequence[str]:
        """Ids of kernels never to be tried (again)."""

    async def workloads(self) -> Sequence[Workload]:
        """What runs here, found afresh, with verdicts."""

    async def sessions(self) -> Sequence[Session]:
        """Every readable session, newest first; the same object as before for one that is on disk
        as before, so that asking again costs little."""

    async def plan(self, request: Request) -> PlanInfo: ...

    # Work that runs as a job.  The API starts the job (`jobs.start`) and passes it; cancelling
    # the job cancels the coroutine, which then undoes what it did.

    async def stage(self, job: Job, request: Request) -> None: ...
    async def update(self, job: Job, request: Request) -> None: ...
    async def rehearse(self, job: Job, request: Request) -> None: ...
    async def rollback(self, job: Job, request: Request) -> None: ...

    async def carry(self, job: Job, name: str) -> None:
        """Rehearse one workload and, if that goes well, declare it for good."""

    # Short work.

    async def unstage(self) -> None:
        """Runs as a job of its own, too, which excludes others: does not ask `jobs` itself."""

    async def confirm(self) -> None:
        """Accept the running kernel by hand: the open session ends as confirmed."""

    async def block(self, kernel: str) -> None: ...
    async def unblock(self, kernel: str) -> None: ...
    async def forget(self, name: str) -> None: ...
    async def schedule(self, calendar: str) -> int:
        """Set the timer, by systemd.time(7).  Returns the next time, UTC µs."""

    async def unschedule(self) -> None: ...

    # The daemon's own.

    async def start(self) -> None:
        """Called once, with the bus connected, before the name is taken.  The kernels and sessions
        are asked for next."""

    async def reload(self) -> None:
        """SIGHUP: read the configuration again.  Raises and keeps the old one when it is bad.  The
        kernels and sessions are asked for next."""

    async def stop(self) -> None:
        """The daemon ends; jobs were cancelled before."""
