# SPDX-License-Identifier: LGPL-2.1-or-later
"""systemd's manager, as the daemon sees it: starts the workers' units and waits for their end."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from liveupdated.bus import Bus, RemoteError, Signal
from liveupdated.errors import LiveUpdateError, ServiceError
from liveupdated.update import failure

SYSTEMD = "org.freedesktop.systemd1"
SYSTEMD_PATH = "/org/freedesktop/systemd1"
MANAGER = f"{SYSTEMD}.Manager"
SERVICE = f"{SYSTEMD}.Service"
PROPERTIES = "org.freedesktop.DBus.Properties"

Progress = Callable[[int, int, str], None]


class Manager:
    """What the coordinator needs of systemd (org.freedesktop.systemd1(5))."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._waiting: dict[str, asyncio.Future[str]] = {}
        self._results: dict[str, str] = {}
        self.on_finished: Callable[[str], None] = lambda unit: None
        """Called with the unit's name whenever one of its jobs is over."""

    async def start(self) -> None:
        await self._bus.subscribe(SYSTEMD, SYSTEMD_PATH, MANAGER, "JobRemoved", self._job_removed)
        await self.call("Subscribe")

    async def call(self, member: str, signature: str = "", *args: Any) -> list[Any]:
        return await self._bus.call(SYSTEMD, SYSTEMD_PATH, MANAGER, member, signature, *args)

    async def run(self, unit: str, step: str, progress: Progress | None = None) -> None:
        """Start a worker's unit and wait until it is done.

        Raises the error that the worker recorded.  When the caller is cancelled the unit is
        stopped, which lets the worker undo what it did, before the cancellation goes on.
        """
        failure.forget(step)
        async with _Status(self._bus, await self._unit_path(unit), progress):
            try:
                result = await self.job("StartUnit", unit)
            except asyncio.CancelledError:
                await self.job("StopUnit", unit)
                await self._forget_failure(unit)
                raise
        if result != "done":
            await self._forget_failure(unit)
            raise failure.read(step) or ServiceError(
                f"{unit} failed", f"systemd says {result}", f"see journalctl -u {unit}"
            )

    async def _forget_failure(self, unit: str) -> None:
        """What failed is told by the job; the host is not degraded by it."""
        with contextlib.suppress(ServiceError):
            await self.call("ResetFailedUnit", "s", unit)

    async def _unit_path(self, unit: str) -> str:
        [path] = await self.call("LoadUnit", "s", unit)
        return str(path)

    async def job(self, member: str, unit: str) -> str:
        """Start a job by that method (`StartUnit`), wait until it is over; how it ended."""
        [job] = await self.call(member, "ss", unit, "replace")
        # The signal can be here before the reply is read.
        if job in self._results:
            return self._results.pop(job)
        self._waiting[job] = asyncio.get_running_loop().create_future()
        try:
            return await self._waiting[job]
        finally:
            del self._waiting[job]

    def _job_removed(self, signal: Signal) -> None:
        _, path, unit, result = signal.args
        if path in self._waiting:
            if not self._waiting[path].done():
                self._waiting[path].set_result(result)
        elif unit.startswith("liveupdated"):
            self._results = {path: result}
        self.on_finished(unit)

    async def is_there(self) -> bool:
        """Whether systemd answers; once it has handed over to systemd-shutdown(8) it does not."""
        try:
            await self.own_property("Version")
        except LiveUpdateError:
            return False
        return True

    async def own_property(self, name: str) -> Any:
        """One of the manager's own."""
        get = (SYSTEMD, SYSTEMD_PATH, PROPERTIES, "Get")
        [value] = await self._bus.call(*get, "ss", MANAGER, name)
        return value

    async def unit_property(self, unit: str, interface: str, name: str) -> Any:
        """A property of a unit's object; None when it has no such property."""
        path = await self._unit_path(unit)
        with contextlib.suppress(RemoteError):
            [value] = await self._bus.call(
                SYSTEMD, path, PROPERTIES, "Get", "ss", f"{SYSTEMD}.{interface}", name
            )
            return value
        return None


class _Status:
    """While inside: hand the worker's STATUS=<done>/<total> <text> to `progress`."""

    def __init__(self, bus: Bus, path: str, progress: Progress | None) -> None:
        self._bus = bus
        self._path = path
        self._progress = progress

    async def __aenter__(self) -> None:
        self._end = await self._bus.subscribe(
            SYSTEMD, self._path, PROPERTIES, "PropertiesChanged", self._changed
        )

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    def _changed(self, signal: Signal) -> None:
        text = signal.args[1].get("StatusText", "") if signal.args[0] == SERVICE else ""
        count, _, words = text.partition(" ")
        done, _, total = count.partition("/")
        if self._progress and done.isdigit() and total.isdigit():
            self._progress(int(done), int(total), words)
