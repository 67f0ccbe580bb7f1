# SPDX-License-Identifier: LGPL-2.1-or-later
"""One session's road: opened, saved, off by logind, or called off and all of it undone.

Whoever began it, a caller, the timer, or an operator's `systemctl kexec`.
"""

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import AsyncIterator

from liveupdated import paths
from liveupdated.errors import (
    BadSession,
    Blocked,
    Busy,
    LiveUpdateError,
    NotFound,
    NotStaged,
    ServiceError,
)
from liveupdated.kernels import loader
from liveupdated.kernels.catalogue import Kernel
from liveupdated.session import Session, Store, Target, boot_id, new_session, write_durably
from liveupdated.timeline.marks import JUMP_REQUESTED, PLAN_END, PLAN_START
from liveupdated.update.events import Listener
from liveupdated.update.inhibit import Inhibitors
from liveupdated.update.jobs import Job
from liveupdated.update.jump import Jump
from liveupdated.update.manager import Manager
from liveupdated.update.plan import Plan
from liveupdated.update.survey import staged

log = logging.getLogger(__name__)

JUMP_LIMIT_S = 3600.0
"""How long logind may take from the request to the shutdown; other delay inhibitors count in."""


class Road:
    """The steps of a session in the boot of the save.  One is under way at a time."""

    def __init__(self, manager: Manager, jump: Jump, store: Store, inhibitors: Inhibitors) -> None:
        self.listener = Listener()
        self.state = "idle"
        """In the words of the manager's property on the bus."""
        self.last_session = ""
        self.store = store
        self._manager = manager
        self._jump = jump
        self._inhibitors = inhibitors
        self._given_up: asyncio.Future[str] | None = None
        self._committing: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def doing(self, state: str) -> AsyncIterator[None]:
        self.set_state(state)
        try:
            yield
        finally:
            self.set_state("idle")

    def set_state(self, state: str) -> None:
        if state != self.state:
            self.state = state
            self.listener.changed("State")

    # --- the kernel ---

    async def stage(self, job: Job, kernel: Kernel, append: str, *, lean: bool) -> Target:
        """Load it, with a lean initrd where that is wanted and it has any.  Raises NotStaged, and
        what the worker raised."""
        job.report(0, 1, "staging the kernel")
        asked = {"kernel": kernel.id, "append": append, "token": os.urandom(16).hex()}
        write_durably(paths.STAGE_REQUEST, json.dumps(asked).encode())
        if lean and kernel.initrds:
            await self._make_lean_initrd(job, kernel)
        try:
            await self._manager.run(paths.STAGE_UNIT, "stage")
        except BaseException:
            if loader.loaded():
                await self._manager.run(paths.UNSTAGE_UNIT, "unstage")
            raise
        finally:
            self.listener.changed("StagedKernel")
        target = staged()
        if target is None or not loader.loaded():
            raise NotStaged(f"{kernel.id} was not staged", "the kernel says that none is loaded")
        job.report(1, 1, f"{target.release} is staged")
        return target

    async def _make_lean_initrd(self, job: Job, kernel: Kernel) -> None:
        """If it can be made; without it the jump is slower, and no worse."""
        job.report(0, 1, "making a lean initrd")
        try:
            await self._manager.run(paths.INITRD_UNIT, "initrd")
        except LiveUpdateError as error:
            log.warning("%s goes with its full initrd: %s", kernel.id, error)
        job.report(0, 1, "staging the kernel")

    async def unstage(self) -> None:
        await self._manager.run(paths.UNSTAGE_UNIT, "unstage")
        self.listener.changed("StagedKernel")

    # --- the session ---

    def new_session(self, road: str) -> Session:
        """One that is planned from now on.  Raises Inhibited, and Busy while another is open."""
        self._inhibitors.refuse_if_blocked()
        open_one = self.store.current()
        if open_one is not None:
            raise Busy(
                f"session {open_one.id} is still {open_one.state}",
                "",
                "wait until it is confirmed, or confirm it",
            )
        session = new_session(road)
        session.mark(PLAN_START)
        return session

    def open(self, session: Session, plan: Plan) -> None:
        session.workloads = list(plan.workloads)
        session.predicted_blackout_us = plan.blackout_us
        session.predicted_jump_us = plan.jump_us
        session.max_blackout_us = plan.max_blackout_us
        session.stop = plan.stop
        session.rung = plan.rung
        session.mark(PLAN_END)
        self.store.open(session)
        self.last_session = session.id
        self.listener.session_changed(session)
        self.listener.changed("LastSession")

    async def prepare(self, session: Session, delay_s: float) -> None:
        """Tell the participants, give those who hold a delay inhibitor their time, and heed those
        who block now that they were told.  Stores the session."""
        self.listener.prepare_for_update(True)
        notes = await self._inhibitors.wait_for_delays(delay_s)
        for note in notes:
            log.warning("%s", note)
        session.notes += notes
        self.store.store(session)
        self._inhibitors.refuse_if_blocked()

    async def save(self, job: Job) -> None:
        self.set_state("saving")
        job.report(0, 1, "saving the workloads")
        # It waits for its cue: its start would be on the blackout's clock.
        commit = self._manager.run(paths.COMMIT_UNIT, "commit")
        self._committing = asyncio.get_running_loop().create_task(commit)
        await self._manager.run(paths.SAVE_UNIT, "save", job.report)

    async def request_jump(self, job: Job) -> None:
        """Hand over to logind and wait: for the end of this process, or for a refusal."""
        job.pass_no_return("the machine is about to jump")
        self.set_state("jumping")
        job.report(1, 1, "jumping")
        self._given_up = asyncio.get_running_loop().create_future()
        await self._jump.request()
        try:
            reason = await asyncio.wait_for(self._given_up, JUMP_LIMIT_S)
        except TimeoutError:
            reason = "logind did not go on in time"
        finally:
            self._given_up = None
        raise ServiceError("the jump did not take place", reason)

    async def commit(self, session: Session) -> None:
        """The last step before the old userspace ends."""
        session.mark(JUMP_REQUESTED)
        self.store.store(session)
        await (self._committing or self._manager.run(paths.COMMIT_UNIT, "commit"))

    # --- back ---

    async def given_up(self) -> None:
        """The shutdown was: an update that waits for it hears so, anything else is called off."""
        if self._given_up is not None and not self._given_up.done():
            self._given_up.set_result("logind gave the shutdown up")
        else:
            await self.clean_up("the shutdown was given up")

    async def call_off(self, reason: str) -> None:
        """Undo all that an update did: workloads run on, nothing is armed."""
        if self._committing is not None:
            self._committing.cancel()
            with contextlib.suppress(LiveUpdateError, asyncio.CancelledError):
                await self._committing
            self._committing = None
        await self.resume(reason)
        await self.unstage()
        if self.last_session:
            self.tell(self.last_session)
        self.listener.prepare_for_update(False)

    async def resume(self, reason: str) -> None:
        """Close the open session, if its worker has not done so; its workloads run on."""
        session = self.store.current()
        if session is not None and session.state.open:
            write_durably(paths.RESUME_REASON, reason.encode())
            await self._manager.run(paths.RESUME_UNIT, "resume")

    async def clean_up(self, reason: str) -> None:
        """Nothing of an update of this boot that nobody waits for stays frozen or armed."""
        try:
            session = self.store.current()
        except (BadSession, NotFound) as error:
            # Nothing may be done with it; the daemon is needed all the more.
            log.error("the open session cannot be trusted: %s", error)
            return
        if session is not None and session.origin.boot_id == boot_id():
            self.last_session = session.id
            # Workers that outlived the daemon must not arm a kernel, or end what is frozen.
            for unit in (paths.STAGE_UNIT, paths.COMMIT_UNIT):
                await self._manager.call("StopUnit", "ss", unit, "replace")
            await self.call_off(reason)

    def tell(self, session_id: str) -> None:
        """Tell of a session that somebody else stored."""
        with contextlib.suppress(NotFound):
            session = self.store.load(session_id)
            self.listener.session_changed(session)
            if not session.state.open:
                self.listener.session_finished(session)


def refuse_if_blocked(plan: Plan) -> None:
    if plan.blockers:
        raise Blocked(
            "the update would lose what nobody agreed to lose, or cannot be done",
            "; ".join(plan.blockers),
            "see the plan; accept-loss names what may be lost",
        )
