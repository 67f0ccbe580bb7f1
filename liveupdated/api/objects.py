# SPDX-License-Identifier: LGPL-2.1-or-later
"""The objects on the bus, kept as what is below has them."""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from liveupdated import contract, interfaces
from liveupdated.api.backend import Backend
from liveupdated.api.job import JobObject
from liveupdated.api.kernel import KernelObject
from liveupdated.api.session import SessionObject
from liveupdated.api.workload import WorkloadObject
from liveupdated.bus import Bus
from liveupdated.session import Session, Workload
from liveupdated.update.events import Listener
from liveupdated.update.jobs import Job

log = logging.getLogger(__name__)

JOB_LINGERS_S = 10.0
"""How long a job's object outlives its JobRemoved, so that its Error can be read."""


class _Object(Protocol):
    @property
    def path(self) -> str: ...


class Objects(Listener):
    """Every object but the manager, and every signal of the manager."""

    def __init__(self, bus: Bus, backend: Backend) -> None:
        self._bus = bus
        self._backend = backend
        self._paths: dict[str, list[str]] = {}
        """Interface, to the paths of its objects in the order of lists."""
        self._tasks: set[asyncio.Task[None]] = set()

    def of(self, interface: str) -> list[str]:
        """The paths of all objects with that interface, in order."""
        return self._paths.get(interface, [])

    def listen(self) -> None:
        """Hear what happens below."""
        self._backend.listener = self
        self._backend.jobs.listener = self
        self._backend.inhibitors.listener = self

    # --- as told by what is below ---

    def changed(self, *names: str) -> None:
        self._bus.properties_changed(contract.ROOT, contract.MANAGER, names)
        if "StagedKernel" in names:
            self._mark_staged()

    def inhibitors_changed(self) -> None:
        self.changed("Inhibitors")

    def kernels_changed(self) -> None:
        self._later(self.read_kernels())

    def workloads_changed(self, workloads: Sequence[Workload]) -> None:
        self.set_workloads(workloads)

    def session_changed(self, session: Session) -> None:
        path = contract.object_path("session", session.id)
        known = self._object(path, contract.SESSION)
        if isinstance(known, SessionObject):
            known.update(session)
            # All of them: it may be the object we have, altered in place.
            described = interfaces.interface(contract.SESSION).properties.values()
            names = [p.name for p in described if p.emits != "const"]
            self._bus.properties_changed(path, contract.SESSION, names)
        else:
            self._export(contract.SESSION, SessionObject(session), newest_first=True)
            self.changed("LastSession")

    def session_removed(self, session_id: str) -> None:
        self._unexport(contract.SESSION, contract.object_path("session", session_id))
        self.changed("LastSession")

    def session_finished(self, session: Session) -> None:
        path = contract.object_path("session", session.id)
        self._emit("SessionFinished", path, str(session.state))

    def prepare_for_update(self, before: bool) -> None:
        self._emit("PrepareForUpdate", before)

    def job_new(self, job: Job) -> None:
        offered = JobObject(job)
        self._export(contract.JOB, offered)
        self._emit("JobNew", job.id, offered.path)

    def job_changed(self, job: Job, *names: str) -> None:
        path = contract.object_path("job", str(job.id))
        self._bus.properties_changed(path, contract.JOB, names)

    def job_removed(self, job: Job) -> None:
        self.job_changed(job, "Result", "ErrorName", "Error", "Cancellable")
        path = contract.object_path("job", str(job.id))
        self._emit("JobRemoved", job.id, path, str(job.result))
        loop = asyncio.get_running_loop()
        loop.call_later(JOB_LINGERS_S, self._unexport, contract.JOB, path)

    # --- as read from what is below ---

    async def read_all(self) -> None:
        """At start, and after a reload."""
        await self.read_kernels()
        await self.read_sessions()

    async def read_kernels(self) -> None:
        """Offer the kernels that are there now."""
        kernels = await self._backend.kernels()
        blocked = await self._backend.blocked()
        staged = self._backend.staged_kernel
        self._set(
            contract.KERNEL, [KernelObject(k, k.id == staged, k.id in blocked) for k in kernels]
        )

    async def read_sessions(self) -> None:
        """Offer the sessions that are on disk now: workers write them too."""
        offered = []
        for session in await self._backend.sessions():
            path = contract.object_path("session", session.id)
            known = self._object(path, contract.SESSION)
            if isinstance(known, SessionObject) and known.session is session:
                offered.append(known)
            else:
                offered.append(SessionObject(session))
        self._set(contract.SESSION, offered)

    def set_workloads(self, workloads: Sequence[Workload]) -> None:
        """Offer these, found just now."""
        self._set(contract.WORKLOAD, [WorkloadObject(workload) for workload in workloads])

    # --- the exports ---

    def _object(self, path: str, interface: str) -> object:
        return self._bus.objects.get(path, {}).get(interface)

    def _set(self, interface: str, wanted: Sequence[_Object]) -> None:
        """Export what is new, remove what is gone, and tell what changed of the rest."""
        paths = {offered.path: offered for offered in wanted}
        for path in set(self.of(interface)) - set(paths):
            self._bus.unexport(path)
        for path, offered in paths.items():
            known = self._object(path, interface)
            if known is None:
                self._bus.export(path, interface, offered)
            elif known is not offered:
                self._replace(path, interface, known, offered)
        self._paths[interface] = list(paths)

    def _replace(self, path: str, interface: str, known: object, offered: object) -> None:
        changed = [
            p
            for p in interfaces.interface(interface).properties.values()
            if p.emits != "invalidates"
            and getattr(known, contract.snake(p.name)) != getattr(offered, contract.snake(p.name))
        ]
        if any(p.emits == "const" for p in changed):  # something else by the same name
            self._bus.unexport(path)
            self._bus.export(path, interface, offered)
            return
        self._bus.objects[path][interface] = offered
        if changed:
            self._bus.properties_changed(path, interface, [p.name for p in changed])

    def _export(self, interface: str, offered: _Object, newest_first: bool = False) -> None:
        self._bus.export(offered.path, interface, offered)
        paths = self._paths.setdefault(interface, [])
        paths.insert(0 if newest_first else len(paths), offered.path)

    def _unexport(self, interface: str, path: str) -> None:
        if path in self.of(interface):
            self._paths[interface].remove(path)
            self._bus.unexport(path)

    def _mark_staged(self) -> None:
        staged = self._backend.staged_kernel
        for path in self.of(contract.KERNEL):
            kernel = self._object(path, contract.KERNEL)
            if isinstance(kernel, KernelObject) and kernel.staged != (kernel.id == staged):
                kernel.staged = kernel.id == staged
                self._bus.properties_changed(path, contract.KERNEL, ["Staged"])

    def _emit(self, signal: str, *args: Any) -> None:
        self._bus.emit(contract.ROOT, contract.MANAGER, signal, *args)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception():
            log.error(
                "what is on the bus could not be brought up to date", exc_info=task.exception()
            )
