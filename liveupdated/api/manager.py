# SPDX-License-Identifier: LGPL-2.1-or-later
"""org.liveupdate1.Manager"""

from collections.abc import Callable, Coroutine
from typing import Any

from liveupdated import __version__, contract
from liveupdated.api.backend import Backend
from liveupdated.api.objects import Objects
from liveupdated.api.options import read_options
from liveupdated.api.polkit import caller_pid, caller_uid
from liveupdated.api.rows import Row, plan_summary, workload_row
from liveupdated.bus import Bus
from liveupdated.errors import NotFound
from liveupdated.exports import Call
from liveupdated.update.inhibit import Inhibitor
from liveupdated.update.jobs import Job

Options = dict[str, contract.Variant]


class Manager:
    """The daemon itself, on the bus."""

    def __init__(self, bus: Bus, backend: Backend, objects: Objects) -> None:
        self._bus = bus
        self._backend = backend
        self._objects = objects
        self.version = __version__

    # --- jobs ---

    async def stage(self, call: Call, kernel: str, options: Options) -> tuple[int, str]:
        request = read_options("Stage", options, kernel)
        await self._require_kernel(request.kernel)
        return self._start("stage", lambda job: self._backend.stage(job, request))

    async def unstage(self, call: Call, options: Options) -> None:
        read_options("Unstage", options)
        # A job, although nobody is told its number: nothing else may change the host meanwhile.
        job = self._backend.jobs.start("unstage", lambda job: self._backend.unstage())
        await job.wait()

    async def update(self, call: Call, options: Options) -> tuple[int, str]:
        request = read_options("Update", options)
        self._backend.inhibitors.refuse_if_blocked()
        await self._require_kernel(request.kernel)
        return self._start("update", lambda job: self._backend.update(job, request))

    async def rehearse(self, call: Call, options: Options) -> tuple[int, str]:
        request = read_options("Rehearse", options)
        self._backend.inhibitors.refuse_if_blocked()
        return self._start("rehearse", lambda job: self._backend.rehearse(job, request))

    async def rollback(self, call: Call, options: Options) -> tuple[int, str]:
        request = read_options("Rollback", options)
        self._backend.inhibitors.refuse_if_blocked()
        return self._start("rollback", lambda job: self._backend.rollback(job, request))

    async def carry(self, call: Call, workload: str, options: Options) -> tuple[int, str]:
        read_options("Carry", options)
        self._backend.inhibitors.refuse_if_blocked()
        return self._start("carry", lambda job: self._backend.carry(job, workload))

    def _start(
        self, kind: str, work: Callable[[Job], Coroutine[Any, Any, None]]
    ) -> tuple[int, str]:
        job = self._backend.jobs.start(kind, work)
        return job.id, contract.object_path("job", str(job.id))

    async def _require_kernel(self, kernel: str) -> None:
        """Refuse an unknown id at once instead of in a job that fails."""
        self._backend.jobs.refuse_if_busy()
        if kernel and kernel not in {known.id for known in await self._backend.kernels()}:
            raise NotFound(f"there is no kernel {kernel!r}", "", "ListKernels tells their ids")

    # --- questions ---

    async def plan(self, call: Call, options: Options) -> tuple[Row, list[Row]]:
        plan = await self._backend.plan(read_options("Plan", options))
        self._objects.set_workloads(plan.workloads)
        return plan_summary(plan), [workload_row(workload) for workload in plan.workloads]

    async def list_kernels(self, call: Call) -> list[list[Any]]:
        await self._objects.read_kernels()
        return self._list(contract.KERNEL)

    async def list_workloads(self, call: Call) -> list[list[Any]]:
        self._objects.set_workloads(await self._backend.workloads())
        return self._list(contract.WORKLOAD)

    async def list_jobs(self, call: Call) -> list[list[Any]]:
        return self._list(contract.JOB)

    async def list_sessions(self, call: Call) -> list[list[Any]]:
        await self._objects.read_sessions()
        return self._list(contract.SESSION)

    def _list(self, interface: str) -> list[list[Any]]:
        return [
            [path, self._bus.properties(path, interface)] for path in self._objects.of(interface)
        ]

    # --- decisions ---

    async def confirm(self, call: Call, options: Options) -> None:
        read_options("Confirm", options)
        self._backend.jobs.refuse_if_busy()
        await self._backend.confirm()

    async def block(self, call: Call, kernel: str, options: Options) -> None:
        read_options("Block", options)
        await self._backend.block(kernel)
        await self._objects.read_kernels()

    async def unblock(self, call: Call, kernel: str, options: Options) -> None:
        read_options("Unblock", options)
        await self._backend.unblock(kernel)
        await self._objects.read_kernels()

    async def forget(self, call: Call, workload: str, options: Options) -> None:
        read_options("Forget", options)
        self._backend.jobs.refuse_if_busy()
        await self._backend.forget(workload)

    async def schedule(self, call: Call, calendar: str, options: Options) -> int:
        read_options("Schedule", options)
        return await self._backend.schedule(calendar)

    async def unschedule(self, call: Call, options: Options) -> None:
        read_options("Unschedule", options)
        await self._backend.unschedule()

    async def inhibit(self, call: Call, who: str, why: str, mode: str) -> int:
        uid = await caller_uid(self._bus, call.sender)
        pid = await caller_pid(self._bus, call.sender)
        return self._backend.inhibitors.take(Inhibitor(who, why, mode, uid, pid))

    # --- properties ---

    @property
    def state(self) -> str:
        return self._backend.state

    @property
    def running_kernel(self) -> str:
        return self._backend.running_kernel

    @property
    def staged_kernel(self) -> str:
        return self._backend.staged_kernel

    @property
    def rung(self) -> str:
        return self._backend.rung

    @property
    def reboot_required(self) -> bool:
        return self._backend.reboot_required

    @property
    def next_update(self) -> int:
        return self._backend.next_update_us

    @property
    def last_session(self) -> str:
        session = self._backend.last_session
        return contract.object_path("session", session) if session else contract.NO_OBJECT

    @property
    def inhibitors(self) -> list[list[Any]]:
        return [[i.who, i.why, i.mode, i.uid, i.pid] for i in self._backend.inhibitors.held()]
