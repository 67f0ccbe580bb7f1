# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon, as the agent sees it: properties, signals, calls, one inhibitor."""

import os
from collections.abc import Callable
from typing import Any

from liveupdated import contract
from liveupdated.bus import Bus, Signal
from liveupdated.contract import Variant

_BUS = "org.freedesktop.DBus"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_PASSWORD_S = 300.0
"""How long somebody may take to type one."""

Options = dict[str, Variant]


class Host:
    """What `liveupdated` offers.  Every call raises errors of `liveupdated.errors`.

    The daemon is never started by the agent: where nobody owns the name there is nothing to tell.
    """

    def __init__(self, bus: Bus, heard: Callable[[Signal], None]) -> None:
        self._bus = bus
        self._heard = heard
        self._inhibitor = -1
        self._why = ""

    async def listen(self) -> None:
        """Signals of the manager, and of the bus when the daemon comes and goes."""
        for member in ("PrepareForUpdate", "SessionFinished", "JobRemoved"):
            await self._bus.subscribe(
                contract.NAME, contract.ROOT, contract.MANAGER, member, self._heard
            )
        await self._bus.subscribe(
            contract.NAME, contract.ROOT, _PROPERTIES, "PropertiesChanged", self._heard
        )
        await self._bus.subscribe(
            _BUS, "/org/freedesktop/DBus", _BUS, "NameOwnerChanged", self._on_owner
        )

    def _on_owner(self, heard: Signal) -> None:
        if heard.args[0] == contract.NAME:
            self._heard(heard)

    async def is_there(self) -> bool:
        [owned] = await self._bus.call(
            _BUS, "/org/freedesktop/DBus", _BUS, "NameHasOwner", "s", contract.NAME
        )
        return bool(owned)

    async def manager(self) -> dict[str, Any]:
        return await self.properties(contract.ROOT, contract.MANAGER)

    async def session(self, path: str) -> dict[str, Any]:
        return await self.properties(path, contract.SESSION)

    async def properties(self, path: str, interface: str) -> dict[str, Any]:
        [found] = await self._bus.call(
            contract.NAME, path, _PROPERTIES, "GetAll", "s", interface, activate=False
        )
        return dict(found)

    async def job(self) -> tuple[str, dict[str, Any]]:
        """The job under way, its path and properties; an empty path when there is none."""
        [jobs] = await self._call(contract.ROOT, contract.MANAGER, "ListJobs")
        return next(((path, dict(job)) for path, job in jobs if not job["Result"]), ("", {}))

    async def update(self, kernel: str) -> str:
        """Returns the path of the job."""
        options = {"kernel": Variant("s", kernel)} if kernel else {}
        _, path = await self._ask("Update", "a{sv}", options)
        return str(path)

    async def schedule(self, calendar: str) -> None:
        await self._ask("Schedule", "sa{sv}", calendar, {})

    async def cancel(self, job: str) -> None:
        await self._call(job, contract.JOB, "Cancel", interactive=True, timeout=_PASSWORD_S)

    async def hold(self, why: str) -> None:
        """Delay updates from now on, for that reason; the one before is released."""
        if self._inhibitor >= 0 and why == self._why:
            return
        [descriptor] = await self._call(
            contract.ROOT, contract.MANAGER, "Inhibit", "sss", "desktop session", why, "delay"
        )
        self.release()
        self._inhibitor, self._why = descriptor, why

    def release(self) -> None:
        if self._inhibitor >= 0:
            os.close(self._inhibitor)
        self._inhibitor = -1

    async def _ask(self, member: str, signature: str, *args: Any) -> list[Any]:
        return await self._call(
            contract.ROOT,
            contract.MANAGER,
            member,
            signature,
            *args,
            interactive=True,
            timeout=_PASSWORD_S,
        )

    async def _call(
        self, path: str, interface: str, member: str, *args: Any, **more: Any
    ) -> list[Any]:
        more["activate"] = False  # where nobody owns the name there is nothing to tell
        return await self._bus.call(contract.NAME, path, interface, member, *args, **more)
