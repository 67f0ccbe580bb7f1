# SPDX-License-Identifier: LGPL-2.1-or-later
"""The coordinator: the steps in their order, each in its own unit, undone when one fails.

It decides and waits; what needs privilege is done by the workers that systemd starts for it.
"""

import asyncio
import contextlib
import dataclasses
import glob
from collections.abc import Coroutine, Sequence
from typing import Any

from liveupdated import paths
from liveupdated.bus import Bus
from liveupdated.config import Config, load_apart
from liveupdated.errors import Blocked, LiveUpdateError, NotFound
from liveupdated.kernels import blocked, loader
from liveupdated.kernels.catalogue import Kernel
from liveupdated.session import Session, State, Store, Target, Verdict, Workload, boot_id
from liveupdated.update import declare, health, order, quickstop, save, schedule
from liveupdated.update.events import Listener
from liveupdated.update.inhibit import Inhibitors
from liveupdated.update.jobs import Job, Jobs
from liveupdated.update.jump import Jump
from liveupdated.update.manager import Manager
from liveupdated.update.plan import Plan, only
from liveupdated.update.request import Request
from liveupdated.update.road import Road, refuse_if_blocked
from liveupdated.update.shutdown import Shutdowns
from liveupdated.update.survey import Survey, staged

BY_HAND = "unknown"
"""What is staged when somebody else loaded it."""


class Coordinator:
    """What the bus face stands on (`liveupdated.api.backend.Backend`)."""

    def __init__(self, bus: Bus, config: Config) -> None:
        self.jobs = Jobs()
        self.inhibitors = Inhibitors()
        self.next_update_us = 0
        self._listener = Listener()
        self._store = Store()
        self._manager = Manager(bus)
        self._jump = Jump(bus, self._manager)
        self._survey = Survey(self._manager, self._store, config)
        self._road = Road(self._manager, self._jump, self._store, self.inhibitors)
        self._shutdowns = Shutdowns(self._manager, self._jump, self.jobs, self._survey, self._road)
        self._background: set[asyncio.Task[None]] = set()

    # --- what the face asks for at any time ---

    @property
    def listener(self) -> Listener:
        return self._listener

    @listener.setter
    def listener(self, listener: Listener) -> None:
        self._listener = self.jobs.listener = self.inhibitors.listener = listener
        self._survey.listener = self._road.listener = listener

    @property
    def state(self) -> str:
        return self._road.state

    @property
    def running_kernel(self) -> str:
        return self._survey.running_kernel

    @property
    def staged_kernel(self) -> str:
        if not loader.loaded():
            return ""
        target = staged()
        return target.kernel if target else BY_HAND

    @property
    def rung(self) -> str:
        return "live-update" if self.reboot_required else ""

    @property
    def reboot_required(self) -> bool:
        return self._survey.reboot_required

    @property
    def last_session(self) -> str:
        return self._road.last_session

    async def kernels(self) -> Sequence[Kernel]:
        return await self._survey.kernels()

    async def blocked(self) -> Sequence[str]:
        return sorted(blocked.read())

    async def workloads(self) -> Sequence[Workload]:
        return await self._survey.workloads()

    async def sessions(self) -> Sequence[Session]:
        return await self._survey.sessions()

    async def plan(self, request: Request) -> Plan:
        return await self._survey.plan(request)

    # --- work ---

    async def stage(self, job: Job, request: Request) -> None:
        async with self._road.doing("staging"):
            await self._stage(job, request)

    async def _stage(self, job: Job, request: Request) -> Target:
        kernel = await self._survey.choose(request.kernel)
        lean = self._survey.config.kernels.lean_initrd
        return await self._road.stage(job, kernel, request.append, lean=lean)

    async def unstage(self) -> None:
        await self._road.unstage()

    async def update(self, job: Job, request: Request) -> None:
        await self._update(job, request, "timer" if request.when == "window" else "update")

    async def rollback(self, job: Job, request: Request) -> None:
        """Back to the kernel before this one, workloads carried."""
        for session in await self.sessions():
            if session.arrival and session.arrival.boot_id == boot_id():
                return await self._update(
                    job, dataclasses.replace(request, kernel=session.origin.release), "rollback"
                )
        raise NotFound(
            "there is nothing to roll back to", "this boot is not the end of a live update"
        )

    async def _update(self, job: Job, request: Request, road: str) -> None:
        session = self._road.new_session(road)
        async with self._road.doing("planning"):
            job.report(0, 1, "planning")
            kernel = await self._survey.choose(request.kernel)
            plan = await self._survey.plan_for(request, kernel)
            refuse_if_blocked(plan)
            self._road.open(session, plan)
            job.works_on(session.id)
            try:
                session.target = await self._stage(job, request)
                await self._prepare(session)
                await self._road.save(job)
                await self._road.request_jump(job)
            except BaseException as error:
                # Past that point nobody cancels it: this process ends, and soon the host.
                if not (job.no_return and isinstance(error, asyncio.CancelledError)):
                    await self._road.call_off(str(error) or "the update was cancelled")
                raise

    async def rehearse(self, job: Job, request: Request) -> None:
        """The whole road in place: save, end, restore; no kernel, no jump."""
        session = self._road.new_session(save.REHEARSAL)
        async with self._road.doing("saving"):
            plan = only(await self._survey.plan_for(request, None), request.only)
            # Nothing jumps, and the true cost is what it is for.
            plan = dataclasses.replace(plan, max_blackout_us=0, stop=quickstop.ORDERLY)
            if circle := order.circle(plan.workloads):
                raise Blocked("these need each other in a circle", ", ".join(circle))
            self._road.open(session, plan)
            job.works_on(session.id)
            try:
                await self._prepare(session)
                await self._manager.run(paths.REHEARSE_UNIT, "rehearse", job.report)
            except BaseException as error:
                await self._road.resume(str(error) or "the rehearsal was cancelled")
                raise
            finally:
                self._road.tell(session.id)
                self._listener.prepare_for_update(False)

    async def _prepare(self, session: Session) -> None:
        await self._road.prepare(session, self._survey.config.update.inhibit_delay_s)

    async def carry(self, job: Job, name: str) -> None:
        """Rehearse one workload and, if that goes well, declare it for good."""
        workload = declare.find(list(await self.workloads()), name)
        if workload.verdict is Verdict.CARRIED and not workload.optional:
            by = f"as {workload.source} says" if workload.source else "as all of its kind"
            job.report(1, 1, f"{workload.name} is carried already, {by}")
            return
        trial = declare.on_trial(workload)
        try:
            await self.rehearse(job, Request(only=(glob.escape(workload.name),)))
            kept = declare.keep(workload)
        finally:
            trial.unlink()
        await self.workloads()
        job.report(1, 1, f"{workload.name} is carried from now on, as {kept} says")

    async def forget(self, name: str) -> None:
        declare.forget(name)
        await self.workloads()

    async def confirm(self) -> None:
        self.jobs.refuse_if_busy()
        session = await asyncio.to_thread(health.confirm, self._store)
        self._road.tell(session.id)
        self._follow_session()

    async def block(self, kernel: str) -> None:
        if all(known.id != kernel for known in await self.kernels()):
            raise NotFound(f"there is no kernel {kernel}")
        blocked.add(kernel, "blocked by hand")
        await self.kernels()
        self._listener.kernels_changed()

    async def unblock(self, kernel: str) -> None:
        blocked.remove(kernel)
        await self.kernels()
        self._listener.kernels_changed()

    async def schedule(self, calendar: str) -> int:
        self.next_update_us = await schedule.set_schedule(self._manager, calendar)
        self._listener.changed("NextUpdate")
        return self.next_update_us

    async def unschedule(self) -> None:
        await schedule.unset_schedule(self._manager)
        self.next_update_us = 0
        self._listener.changed("NextUpdate")

    # --- the daemon's own life ---

    async def start(self) -> None:
        await self._manager.start()
        self._manager.on_finished = self._unit_finished
        await self._jump.start(self._on_prepare)
        if not await self._jump.going_down():
            await self._road.clean_up("the daemon ended in the middle of the update")
        for session_id in self._store.prune():
            self._listener.session_removed(session_id)
        sessions = await self.sessions()
        self._road.last_session = sessions[0].id if sessions else ""
        self.next_update_us = await schedule.next_time(self._manager)
        self._follow_session()

    def _on_prepare(self, before: bool, kind: str) -> None:
        self._in_background(self._shutdowns.announced(before, kind))

    def _unit_finished(self, unit: str) -> None:
        if unit in (paths.RESTORE_UNIT, paths.HEALTH_UNIT):
            self._follow_session()
            if self.last_session:
                self._arrived(over=unit == paths.HEALTH_UNIT)

    def _arrived(self, *, over: bool) -> None:
        """After the jump: what the units have made of the session; `over` when that was the last
        of them, for the participants that came across or have come since."""
        self._road.tell(self.last_session)
        if over:
            self._listener.prepare_for_update(False)

    def _follow_session(self) -> None:
        """After the jump the state is what the restore and health units make of the session."""
        session = None
        with contextlib.suppress(LiveUpdateError):
            session = self._store.current()
        if self.jobs.current is None:
            states = {State.RESTORING: "restoring", State.RESTORED: "checking"}
            self._road.set_state(states.get(session.state, "idle") if session else "idle")

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def reload(self) -> None:
        self._survey.config = await asyncio.to_thread(load_apart)

    async def stop(self) -> None:
        for task in self._background:
            task.cancel()
        self._jump.release()
