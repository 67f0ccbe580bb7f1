# SPDX-License-Identifier: LGPL-2.1-or-later
"""What there is on this host now, and what would become of it: all that changes nothing."""

import asyncio
import contextlib
import dataclasses
import json
import os
from collections.abc import Sequence

from liveupdated import paths
from liveupdated.config import Config
from liveupdated.errors import LiveUpdateError, NotFound
from liveupdated.kernels import blocked, catalogue, configured
from liveupdated.kernels.catalogue import Kernel
from liveupdated.session import Session, Store, Target, Workload
from liveupdated.update import predict
from liveupdated.update.events import Listener
from liveupdated.update.manager import Manager
from liveupdated.update.plan import Plan, PlanTarget, make_plan, read_found
from liveupdated.update.request import Request


class Survey:
    """Kernels, workloads, sessions, and the plan that is made of them."""

    def __init__(self, manager: Manager, store: Store, config: Config) -> None:
        self.listener = Listener()
        self.config = config
        self.running_kernel = os.uname().release
        self.reboot_required = False
        self._manager = manager
        self._store = store
        self._sessions: dict[str, tuple[int, Session]] = {}

    async def kernels(self) -> Sequence[Kernel]:
        kernels = await asyncio.to_thread(catalogue.list_kernels, configured(self.config.kernels))
        running = next((kernel for kernel in kernels if kernel.running), None)
        self.running_kernel = running.id if running else os.uname().release
        with contextlib.suppress(LiveUpdateError):
            newest = catalogue.newest(kernels, blocked.read())
            self.reboot_required = running is None or kernels.index(newest) < kernels.index(running)
        return kernels

    async def choose(self, kernel_id: str) -> Kernel:
        """The kernel of that id, or the newest that is not blocked.  Raises NotFound, Blocked,
        BadKernel."""
        return catalogue.choose(await self.kernels(), kernel_id, blocked.read())

    async def workloads(self) -> Sequence[Workload]:
        await self._manager.run(paths.PLAN_UNIT, "plan")
        found = read_found().workloads
        self.listener.workloads_changed(found)
        return found

    async def sessions(self) -> Sequence[Session]:
        read: dict[str, tuple[int, Session]] = {}
        for session_id in self._store.ids():
            with contextlib.suppress(LiveUpdateError, OSError):
                stamp = (self._store.folder(session_id) / "session.json").stat().st_mtime_ns
                known = self._sessions.get(session_id)
                same = known is not None and known[0] == stamp
                read[session_id] = (
                    known if known and same else (stamp, self._store.load(session_id))
                )
        self._sessions = read
        return [session for _, session in read.values()]

    async def plan(self, request: Request) -> Plan:
        """For the kernel that would be taken; where there is none to take, the plan says so."""
        with contextlib.suppress(NotFound):
            target: Kernel | None = await self.choose(request.kernel)
            return await self.plan_for(request, target)
        if request.kernel:
            await self.choose(request.kernel)  # says which kernel there is none of
        return await self.plan_for(request, None)

    async def plan_for(self, request: Request, target: PlanTarget | None) -> Plan:
        workloads = await self.workloads()
        found = dataclasses.replace(read_found(), workloads=tuple(workloads))
        sessions = await self.sessions()
        settings = self.config.update
        limit_us = request.max_blackout_us or int(settings.max_blackout_s * 1e6)
        stop = request.stop or settings.stop
        processors = os.cpu_count() or 1
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
            measured=predict.costs(sessions, processors),
            processors=processors,
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


def staged() -> Target | None:
    """What the stage worker loaded, if it did."""
    try:
        return Target(**json.loads(paths.STAGED.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
