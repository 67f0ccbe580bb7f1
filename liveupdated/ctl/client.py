# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon as liveupdatectl sees it: calls go out, shapes come back."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from liveupdated import contract
from liveupdated.bus import Bus, RemoteError
from liveupdated.contract import Variant
from liveupdated.ctl import shapes, shaping
from liveupdated.ctl.shaping import Properties
from liveupdated.errors import Disconnected, InvalidArgument, NotAuthorized, NotFound, ServiceError

T = TypeVar("T")
Options = dict[str, Variant]

_PROPERTIES = "org.freedesktop.DBus.Properties"
_ACCESS_DENIED = "org.freedesktop.DBus.Error.AccessDenied"
_ANSWER_S = 300.0
"""A password may have to be typed; finding thousands of workloads takes its time, too."""


def ask(work: Callable[["Client"], Awaitable[T]]) -> T:
    """Connect, do `work`, hang up.  The one entry from the synchronous commands."""

    async def whole() -> T:
        bus = await Bus.connect()
        try:
            return await work(Client(bus))
        except (KeyError, ValueError) as error:  # a property is missing, or of another type
            raise ServiceError(
                "the daemon answers in the shape of another version",
                repr(error),
                "systemctl restart liveupdated.service",
            ) from error
        finally:
            await bus.close()

    return asyncio.run(whole())


class Client:
    """The methods of the contract.  Every one raises errors of `liveupdated.errors`."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus

    # --- questions ---

    async def status(self) -> shapes.Status:
        manager = await self.properties(contract.ROOT, contract.MANAGER)
        path = manager["LastSession"]
        none = path == contract.NO_OBJECT
        last = None if none else await self.properties(path, contract.SESSION)
        return shaping.status(manager, last)

    async def kernels(self) -> list[shapes.Kernel]:
        [found] = await self.call("ListKernels")
        return [shaping.kernel(properties) for _, properties in found]

    async def workloads(self) -> list[shapes.Workload]:
        [found] = await self.call("ListWorkloads")
        return [shaping.workload(properties) for _, properties in found]

    async def plan(self, options: Options) -> shapes.Plan:
        summary, rows = await self.call("Plan", "a{sv}", options)
        return shaping.plan(summary, rows)

    async def sessions(self) -> list[shapes.Session]:
        [found] = await self.call("ListSessions")
        return [shaping.session(properties) for _, properties in found]

    async def session(self, wanted: str) -> shapes.SessionDetail:
        """By id, the beginning of one, or `last`."""
        return shaping.session_detail(await self._session(wanted))

    async def timeline(self, wanted: str) -> shapes.Timeline:
        return shaping.timeline(await self._session(wanted))

    async def record(self, wanted: str) -> tuple[shapes.SessionDetail, shapes.Timeline]:
        """All that there is about one session, in one answer, so that its halves fit."""
        properties = await self._session(wanted)
        return shaping.session_detail(properties), shaping.timeline(properties)

    async def _session(self, wanted: str) -> Properties:
        [found] = await self.call("ListSessions")
        if wanted == "last":
            fits = [path for path, _ in found[:1]]
        else:
            fits = [path for path, p in found if wanted and p["Id"].startswith(wanted)]
        if not fits:
            hint = "liveupdatectl history lists them" if found else ""
            raise NotFound(f"there is no session {wanted}", "", hint)
        if len(fits) > 1:
            raise InvalidArgument(f"{len(fits)} sessions begin with {wanted}", "", "write more")
        return await self.properties(fits[0], contract.SESSION)

    # --- the calls themselves ---

    async def call(self, member: str, signature: str = "", *args: Any) -> list[Any]:
        """A method of the manager."""
        return await self.call_on(contract.ROOT, contract.MANAGER, member, signature, *args)

    async def call_on(
        self, path: str, interface: str, member: str, signature: str = "", *args: Any
    ) -> list[Any]:
        try:
            return await self.bus.call(
                contract.NAME,
                path,
                interface,
                member,
                signature,
                *args,
                timeout=_ANSWER_S,
                interactive=True,
            )
        except Disconnected as error:
            raise Disconnected(
                "the daemon cannot be reached",
                error.why or error.what,
                error.hint or "systemctl status liveupdated.service dbus.service",
            ) from error
        except RemoteError as error:
            if error.remote_name == _ACCESS_DENIED:
                raise NotAuthorized(error.what, error.why, "try it as root") from error
            raise

    async def properties(self, path: str, interface: str) -> Properties:
        [found] = await self.call_on(path, _PROPERTIES, "GetAll", "s", interface)
        properties: Properties = found
        return properties
