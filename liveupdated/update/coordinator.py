# SPDX-License-Identifier: LGPL-2.1-or-later
"""The coordinator: the steps in their order, each in its own unit, undone when one fails.

It decides and waits; what needs privilege is done by the workers that systemd starts for it.
"""

import asyncio
import contextlib
import dataclasses
import glob
import json
import logging
import os
from collections.abc import AsyncIterator, Sequence

from liveupdated import paths
from liveupdated.bus import Bus
from liveupdated.config import Config, load_apart
from liveupdated.errors import (
    BadSession,
    Blocked,
    Busy,
    LiveUpdateError,
    NotFound,
    NotStaged,
    ServiceError,
)
from liveupdated.kernels import blocked, catalogue, configured, loader
from liveupdated.kernels.catalogue import Kernel
from liveupdated.session import (
    Session,
    State,
    Store,
    Target,
    Verdict,
    Workload,
    boot_id,
    new_session,
    write_durably,
)
from liveupdated.timeline.marks import (
    JUMP_REQUESTED,
    PLAN_END,
    PLAN_START,
)
from liveupdated.update import (
    declare,
    guard,
    health,
    order,
    predict,
    quickstop,
    save,
    schedule,
)
from liveupdated.update.events import Listener
from liveupdated.update.inhibit import Inhibitors
from liveupdated.update.jobs import Job, Jobs
from liveupdated.update.jump import Jump
from liveupdated.update.manager import Manager
from liveupdated.update.plan import (
    Plan,
    PlanTarget,
    make_plan,
    only,
    read_found,
)
from liveupdated.update.request import Request

log = logging.getLogger(__name__)

JUMP_LIMIT_S = 3600.0
"""How long logind may take from the request to the shutdown; other delay inhibitors count in."""
OPERATOR = "operator"
"""Kind of the job, and road of the session, of a bare `systemctl kexec`."""
BY_HAND = "unknown"
"""What is staged when somebody else loaded it."""


class Coordinator:
    """What the bus face stands on (`liveupdated.api.backend.Backend`)."""

    def __init__(self, bus: Bus, config: Config) -> None:
        self.jobs = Jobs()
        self.inhibitors = Inhibitors()
        self.store = Store()
        self.state = "idle"
        self.running_kernel = os.uname().release
        self.reboot_required = False
        self.next_update_us = 0
        self.last_session = ""
        self._config = config
        self._listener = Listener()
        self._manager = Manager(bus)
        self._jump = Jump(bus, self._manager)
        self._sessions: dict[str, tuple[int, Session]] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._abandoned: asyncio.Future[str] | None = None
        self._committing: asyncio.Task[None] | None = None

    # --- what the face asks for at any time ---

    @property
    def listener(self) -> Listener:
        return self._listener

    @listener.setter
    def listener(self, listener: Listener) -> None:
        self._listener = self.jobs.listener = self.inhibitors.listener = listener

    @property
    def staged_kernel(self) -> str:
        if not loader.loaded():
            return ""
        target = _staged()
        return target.kernel if target else BY_HAND

    @property
    def rung(self) -> str:
        return "live-update" if self.reboot_required else ""

    async def kernels(self) -> Sequence[Kernel]:
        kernels = await asyncio.to_thread(catalogue.list_kernels, configured(self._config.kernels))
        running = next((kernel for kernel in kernels if kernel.running), None)
        self.running_kernel = running.id if running else os.uname().release
        with contextlib.suppress(LiveUpdateError):
            newest = catalogue.newest(kernels, blocked.read())
            self.reboot_required = running is None or kernels.index(newest) < kernels.index(running)
        return kernels

    async def blocked(self) -> Sequence[str]:
        return sorted(blocked.read())

    async def workloads(self) -> Sequence[Workload]:
        await self._manager.run(paths.PLAN_UNIT, "plan")
        found = read_found().workloads
        self._listener.workloads_changed(found)
        return found

    async def sessions(self) -> Sequence[Session]:
        read: dict[str, tuple[int, Session]] = {}
        for session_id in self.store.ids():
            with contextlib.suppress(LiveUpdateError, OSError):
                stamp = (self.store.folder(session_id) / "session.json").stat().st_mtime_ns
                known = self._sessions.get(session_id)
                same = known is not None and known[0] == stamp
                read[session_id] = known if known and same else (stamp, self.store.load(session_id))
        self._sessions = read
        return [session for _, session in read.values()]

    async def plan(self, request: Request) -> Plan:
        with contextlib.suppress(NotFound):
            target: Kernel | None = await self._choose(request.kernel)
            return await self._plan(request, target)
        if request.kernel:
            await self._choose(request.kernel)  # says which kernel there is none of
        return await self._plan(request, None)

    async def _plan(self, request: Request, target: PlanTarget | None) -> Plan:
        workloads = await self.workloads()
        found = dataclasses.replace(read_found(), workloads=tuple(workloads))
        sessions = await self.sessions()
        settings = self._config.update
        limit_us = request.max_blackout_us or int(settings.max_blackout_s * 1e6)
        stop = request.stop or settings.stop
        return make_plan(
            found,
            target,
            os.uname().release,
            dataclasses.replace(request, max_blackout_us=limit_us, stop=stop),
            accept_loss=settings.accept_loss,
            # A rehearsal is there to find out.
            limits=settings.blackout_limits if target else {},
            jump_us=predict.jump_us(sessions, await self._to_restore_us(), stop),
            no_criu=catalogue.no_criu(target, request.append) if isinstance(target, Kernel) else "",
            measured=predict.costs(sessions),
            processors=os.cpu_count() or 1,
        )

    async def _to_restore_us(self) -> int:
        """From the start of this boot's kernel to the moment when carried services would have been
        started: after basic.target, as systemd starts any (systemd.special(7))."""
        at = await self._manager.unit_property(
            "basic.target", "Unit", "ActiveEnterTimestampMonotonic"
        )
        if not paths.IN_CONTAINER.exists():
            return int(at or 0)
        # There the clock is that of the host's boot.
        return int(at or 0) - int(await self._manager.own_property("UserspaceTimestampMonotonic"))

    async def _choose(self, kernel_id: str) -> Kernel:
        """The kernel of that id, or the newest that is not blocked.  Raises NotFound, Blocked,
        BadKernel."""
        return catalogue.choose(await self.kernels(), kernel_id, blocked.read())

    # --- work ---

    async def stage(self, job: Job, request: Request) -> None:
        async with self._as("staging"):
            await self._stage(job, request)

    async def _stage(self, job: Job, request: Request) -> Target:
        job.report(0, 1, "staging the kernel")
        kernel = await self._choose(request.kernel)
        asked = {"kernel": kernel.id, "append": request.append, "token": os.urandom(16).hex()}
        write_durably(paths.STAGE_REQUEST, json.dumps(asked).encode())
        if self._config.kernels.lean_initrd and kernel.initrds:
            await self._make_lean_initrd(job, kernel)
        try:
            await self._manager.run(paths.STAGE_UNIT, "stage")
        except BaseException:
            if loader.loaded():
                await self._manager.run(paths.UNSTAGE_UNIT, "unstage")
            raise
        finally:
            self._listener.changed("StagedKernel")
        target = _staged()
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
        self._listener.changed("StagedKernel")

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
        self.inhibitors.refuse_if_blocked()
        session = self._new_session(road)
        async with self._as("planning"):
            job.report(0, 1, "planning")
            kernel = await self._choose(request.kernel)
            plan = await self._plan(request, kernel)
            _refuse_if_blocked(plan)
            self._open(session, plan)
            job.works_on(session.id)
            try:
                session.target = await self._stage(job, request)
                await self._prepare(session)
                await self._save(job)
                await self._request_jump(job)
            except BaseException as error:
                # Past that point nobody cancels it: this process ends, and soon the host.
                if not (job.no_return and isinstance(error, asyncio.CancelledError)):
                    await self._call_off(str(error) or "the update was cancelled")
                raise

    async def rehearse(self, job: Job, request: Request) -> None:
        """The whole road in place: save, end, restore; no kernel, no jump."""
        self.inhibitors.refuse_if_blocked()
        session = self._new_session(save.REHEARSAL)
        async with self._as("saving"):
            plan = only(await self._plan(request, None), request.only)
            # Nothing jumps, and the true cost is what it is for.
            plan = dataclasses.replace(plan, max_blackout_us=0, stop=quickstop.ORDERLY)
            if circle := order.circle(plan.workloads):
                raise Blocked("these need each other in a circle", ", ".join(circle))
            self._open(session, plan)
            job.works_on(session.id)
            try:
                await self._prepare(session)
                await self._manager.run(paths.REHEARSE_UNIT, "rehearse", job.report)
            except BaseException as error:
                await self._resume(str(error) or "the rehearsal was cancelled")
                raise
            finally:
                await self._finish(session.id)
                self._listener.prepare_for_update(False)

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

    def _new_session(self, road: str) -> Session:
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

    def _open(self, session: Session, plan: Plan) -> None:
        session.workloads = list(plan.workloads)
        session.predicted_blackout_us = plan.blackout_us
        session.predicted_jump_us = plan.jump_us
        session.max_blackout_us = plan.max_blackout_us
        session.stop = plan.stop
        session.rung = plan.rung
        session.mark(PLAN_END)
        self.store.open(session)
        self.last_session = session.id
        self._listener.session_changed(session)
        self._listener.changed("LastSession")

    async def _prepare(self, session: Session) -> None:
        """Tell the participants, give those who hold a delay inhibitor their time, and heed those
        who block now that they were told.  Stores the session."""
        self._listener.prepare_for_update(True)
        notes = await self.inhibitors.wait_for_delays(self._config.update.inhibit_delay_s)
        for note in notes:
            log.warning("%s", note)
        session.notes += notes
        self.store.store(session)
        self.inhibitors.refuse_if_blocked()

    async def _save(self, job: Job) -> None:
        self._set_state("saving")
        job.report(0, 1, "saving the workloads")
        # It waits for its cue: its start would be on the blackout's clock.
        commit = self._manager.run(paths.COMMIT_UNIT, "commit")
        self._committing = asyncio.get_running_loop().create_task(commit)
        await self._manager.run(paths.SAVE_UNIT, "save", job.report)

    async def _request_jump(self, job: Job) -> None:
        """Hand over to logind and wait: for the end of this process, or for a refusal."""
        job.pass_no_return("the machine is about to jump")
        self._set_state("jumping")
        job.report(1, 1, "jumping")
        self._abandoned = asyncio.get_running_loop().create_future()
        await self._jump.request()
        try:
            reason = await asyncio.wait_for(self._abandoned, JUMP_LIMIT_S)
        except TimeoutError:
            reason = "logind did not go on in time"
        finally:
            self._abandoned = None
        raise ServiceError("the jump did not take place", reason)

    async def _call_off(self, reason: str) -> None:
        """Undo all that an update did: workloads run on, nothing is armed."""
        if self._committing is not None:
            self._committing.cancel()
            with contextlib.suppress(LiveUpdateError, asyncio.CancelledError):
                await self._committing
            self._committing = None
        await self._resume(reason)
        await self.unstage()
        if self.last_session:
            await self._finish(self.last_session)
        self._listener.prepare_for_update(False)

    async def _resume(self, reason: str) -> None:
        """Close the open session, if its worker has not done so; its workloads run on."""
        session = self.store.current()
        if session is not None and session.state.open:
            write_durably(paths.RESUME_REASON, reason.encode())
            await self._manager.run(paths.RESUME_UNIT, "resume")

    async def _finish(self, session_id: str) -> None:
        """Tell of a session that somebody else stored."""
        with contextlib.suppress(NotFound):
            session = self.store.load(session_id)
            self._listener.session_changed(session)
            if not session.state.open:
                self._listener.session_finished(session)

    # --- logind's road ---

    def _on_prepare(self, before: bool, kind: str) -> None:
        work = self._before_jump(kind) if before else self._after_shutdown_failed()
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _before_jump(self, kind: str) -> None:
        """A shutdown begins.  If it is a kexec, nothing jumps unsaved."""
        if kind != "kexec" or not loader.loaded():
            await self._jump.go_on(kind)
            return
        try:
            session = self.store.current()
            if session is not None and session.state is State.SAVED:
                await self._commit(session)
            else:
                await self._jump.forbid()
                await self._operators_jump()
                await self._jump.allow()
        except (LiveUpdateError, asyncio.CancelledError) as error:
            log.error("kexec refused, the workloads run on: %s", error)
            await self._jump.forbid()
            await self._call_off(str(error))
            return
        finally:
            self._jump.release()
        await self._jump.go_on(kind)

    async def _operators_jump(self) -> None:
        """Somebody called `systemctl kexec`: plan and save as for any update."""

        async def work(job: Job) -> None:
            self.inhibitors.refuse_if_blocked()
            session = self._new_session(OPERATOR)
            async with self._as("planning"):
                session.target = _staged() or Target(
                    kernel="",
                    release="",
                    image="",
                    image_sha256="",
                    initrds=[],
                    cmdline="",
                    token="",
                    method="by hand",
                )
                if not session.target.token and not guard.tells_kexec():
                    raise Blocked(
                        "a kernel loaded by hand cannot be told from a fresh boot on this machine",
                        "only x86 tells how it was booted",
                        "stage it with liveupdatectl",
                    )
                plan = await self._plan(Request(), _Operators(session.target))
                _refuse_if_blocked(plan)
                self._open(session, plan)
                job.works_on(session.id)
                await self._prepare(session)
                await self._save(job)
                job.pass_no_return("the machine is about to jump")
                if not await self._jump.going_down():
                    raise ServiceError("logind did not wait for the save", "its limit ran out")
                await self._commit(self.store.load(session.id))

        job = self.jobs.start(OPERATOR, work)
        await job.wait()

    async def _commit(self, session: Session) -> None:
        session.mark(JUMP_REQUESTED)
        self.store.store(session)
        await (self._committing or self._manager.run(paths.COMMIT_UNIT, "commit"))

    async def _after_shutdown_failed(self) -> None:
        """logind gave up (PrepareForShutdown is false again): back to where we were.

        A quick stop leaves logind and this process running to its end, and logind then says the
        same because kexec.target was reached.
        """
        if not await self._manager.is_there():
            return
        operator = self.jobs.current
        if operator is not None and operator.kind == OPERATOR:
            # logind's own limit ran out, and the mask has kept it from jumping.
            with contextlib.suppress(LiveUpdateError):
                operator.cancel()
                await operator.wait()
        await self._jump.hold()
        await self._jump.allow()
        if self._abandoned is not None and not self._abandoned.done():
            self._abandoned.set_result("logind gave the shutdown up")
        else:
            await self._clean_up("the shutdown was given up")

    # --- the daemon's own life ---

    async def start(self) -> None:
        await self._manager.start()
        self._manager.on_finished = self._unit_finished
        await self._jump.start(self._on_prepare)
        if not await self._jump.going_down():
            await self._clean_up("the daemon ended in the middle of the update")
        for session_id in self.store.prune():
            self._listener.session_removed(session_id)
        sessions = await self.sessions()
        self.last_session = sessions[0].id if sessions else ""
        self.next_update_us = await schedule.next_time(self._manager)
        self._follow_session()

    async def _clean_up(self, reason: str) -> None:
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
            await self._call_off(reason)

    def _unit_finished(self, unit: str) -> None:
        if unit in (paths.RESTORE_UNIT, paths.HEALTH_UNIT):
            self._follow_session()
            if self.last_session:
                over = unit == paths.HEALTH_UNIT
                task = asyncio.get_running_loop().create_task(self._arrived(over))
                self._background.add(task)
                task.add_done_callback(self._background.discard)

    async def _arrived(self, over: bool) -> None:
        """After the jump: what the units have made of the session; `over` when that was the last
        of them, for the participants that came across or have come since."""
        await self._finish(self.last_session)
        if over:
            self._listener.prepare_for_update(False)

    def _follow_session(self) -> None:
        """After the jump the state is what the restore and health units make of the session."""
        session = None
        with contextlib.suppress(LiveUpdateError):
            session = self.store.current()
        if self.jobs.current is None:
            states = {State.RESTORING: "restoring", State.RESTORED: "checking"}
            self._set_state(states.get(session.state, "idle") if session else "idle")

    async def reload(self) -> None:
        self._config = await asyncio.to_thread(load_apart)

    async def stop(self) -> None:
        for task in self._background:
            task.cancel()
        self._jump.release()

    async def confirm(self) -> None:
        self.jobs.refuse_if_busy()
        session = await asyncio.to_thread(health.confirm, self.store)
        await self._finish(session.id)
        self._follow_session()

    async def block(self, kernel: str) -> None:
        await self._known(kernel)
        blocked.add(kernel, "blocked by hand")
        await self.kernels()
        self._listener.kernels_changed()

    async def unblock(self, kernel: str) -> None:
        blocked.remove(kernel)
        await self.kernels()
        self._listener.kernels_changed()

    async def _known(self, kernel_id: str) -> None:
        if all(kernel.id != kernel_id for kernel in await self.kernels()):
            raise NotFound(f"there is no kernel {kernel_id}")

    async def schedule(self, calendar: str) -> int:
        self.next_update_us = await schedule.set_schedule(self._manager, calendar)
        self._listener.changed("NextUpdate")
        return self.next_update_us

    async def unschedule(self) -> None:
        await schedule.unset_schedule(self._manager)
        self.next_update_us = 0
        self._listener.changed("NextUpdate")

    @contextlib.asynccontextmanager
    async def _as(self, state: str) -> AsyncIterator[None]:
        self._set_state(state)
        try:
            yield
        finally:
            self._set_state("idle")

    def _set_state(self, state: str) -> None:
        if state != self.state:
            self.state = state
            self._listener.changed("State")


@dataclasses.dataclass(frozen=True)
class _Operators:
    """A target that an operator loaded."""

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


def _refuse_if_blocked(plan: Plan) -> None:
    if plan.blockers:
        raise Blocked(
            "the update would lose what nobody agreed to lose, or cannot be done",
            "; ".join(plan.blockers),
            "see the plan; accept-loss names what may be lost",
        )


def _staged() -> Target | None:
    """What the stage worker loaded, if it did."""
    try:
        return Target(**json.loads(paths.STAGED.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
