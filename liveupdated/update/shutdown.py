# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every shutdown that logind announces: if it is a kexec, nothing jumps unsaved."""

import asyncio
import contextlib
import logging
from dataclasses import dataclass

from liveupdated.errors import Blocked, LiveUpdateError, ServiceError
from liveupdated.kernels import loader
from liveupdated.session import State, Target
from liveupdated.update import guard
from liveupdated.update.jobs import Job, Jobs
from liveupdated.update.jump import Jump
from liveupdated.update.manager import Manager
from liveupdated.update.request import Request
from liveupdated.update.road import Road, refuse_if_blocked
from liveupdated.update.survey import Survey, staged

log = logging.getLogger(__name__)

OPERATOR = "operator"
"""Kind of the job, and road of the session, of a bare `systemctl kexec`."""


class Shutdowns:
    """What is done between logind's announcement and its going on."""

    def __init__(
        self, manager: Manager, jump: Jump, jobs: Jobs, survey: Survey, road: Road
    ) -> None:
        self._manager = manager
        self._jump = jump
        self._jobs = jobs
        self._survey = survey
        self._road = road

    async def announced(self, before: bool, kind: str) -> None:
        """PrepareForShutdown, and of which kind."""
        await (self._begins(kind) if before else self._was_given_up())

    async def _begins(self, kind: str) -> None:
        if kind != "kexec" or not loader.loaded():
            await self._jump.go_on(kind)
            return
        try:
            session = self._road.store.current()
            if session is not None and session.state is State.SAVED:
                await self._road.commit(session)
            else:
                await self._jump.forbid()
                await self._save_for_operator()
                await self._jump.allow()
        except (LiveUpdateError, asyncio.CancelledError) as error:
            log.error("kexec refused, the workloads run on: %s", error)
            await self._jump.forbid()
            await self._road.call_off(str(error))
            return
        finally:
            self._jump.release()
        await self._jump.go_on(kind)

    async def _save_for_operator(self) -> None:
        """Somebody called `systemctl kexec`: plan and save as for any update."""
        job = self._jobs.start(OPERATOR, self._operators_work)
        await job.wait()

    async def _operators_work(self, job: Job) -> None:
        session = self._road.new_session(OPERATOR)
        async with self._road.doing("planning"):
            session.target = staged() or _unknown_target()
            if not session.target.token and not guard.tells_kexec():
                raise Blocked(
                    "a kernel loaded by hand cannot be told from a fresh boot on this machine",
                    "only x86 tells how it was booted",
                    "stage it with liveupdatectl",
                )
            plan = await self._survey.plan_for(Request(), _OperatorsTarget(session.target))
            refuse_if_blocked(plan)
            self._road.open(session, plan)
            job.works_on(session.id)
            await self._road.prepare(session, self._survey.config.update.inhibit_delay_s)
            await self._road.save(job)
            job.pass_no_return("the machine is about to jump")
            if not await self._jump.going_down():
                raise ServiceError("logind did not wait for the save", "its limit ran out")
            await self._road.commit(self._road.store.load(session.id))

    async def _was_given_up(self) -> None:
        """logind gave up (PrepareForShutdown is false again): back to where we were.

        A quick stop leaves logind and this process running to its end, and logind then says the
        same because kexec.target was reached.
        """
        if not await self._manager.is_there():
            return
        operator = self._jobs.current
        if operator is not None and operator.kind == OPERATOR:
            # logind's own limit ran out, and the mask has kept it from jumping.
            with contextlib.suppress(LiveUpdateError):
                operator.cancel()
                await operator.wait()
        await self._jump.hold()
        await self._jump.allow()
        await self._road.given_up()


def _unknown_target() -> Target:
    """What somebody loaded by hand: the kernel does not tell what it is."""
    return Target(
        kernel="",
        release="",
        image="",
        image_sha256="",
        initrds=[],
        cmdline="",
        token="",
        method="by hand",
    )


@dataclass(frozen=True)
class _OperatorsTarget:
    """What an operator loaded, as the plan names it."""

    target: Target

    @property
    def id(self) -> str:
        return self.target.kernel

    @property
    def release(self) -> str:
        return self.target.release

    @property
    def cmdline(self) -> str:
        return self.target.cmdline
