# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the user must not be torn out of, as far as his session knows.

Applications say it themselves, by forbidding logout (an unsaved document) or an idle screen (a
call, a presentation, a film).  Where they say it differs by desktop, so all places are asked that
are there:

* org.gnome.SessionManager: GNOME, and others that follow it;
* org.freedesktop.PowerManagement.Inhibit: KDE, XFCE;
* logind's inhibitors of the same user, for all that knows neither.
"""

import logging
import os
from collections.abc import Callable
from typing import Any

from liveupdated.bus import Bus, Signal
from liveupdated.errors import ServiceError

log = logging.getLogger(__name__)

_BUS = "org.freedesktop.DBus"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_GNOME = "org.gnome.SessionManager"
_GNOME_PATH = "/org/gnome/SessionManager"
_GNOME_INHIBITOR = "org.gnome.SessionManager.Inhibitor"
_GNOME_LOGOUT, _GNOME_IDLE = 1, 8
_POWER = "org.freedesktop.PowerManagement"
_POWER_PATH = "/org/freedesktop/PowerManagement/Inhibit"
_POWER_INHIBIT = "org.freedesktop.PowerManagement.Inhibit"
_LOGIND = "org.freedesktop.login1"
_LOGIND_PATH = "/org/freedesktop/login1"
_LOGIND_MANAGER = "org.freedesktop.login1.Manager"
_LOGIND_WHAT = {"shutdown", "idle"}


class Busy:
    """Asks, and says when it is worth asking again."""

    def __init__(self, system: Bus, session: Bus, changed: Callable[[], None]) -> None:
        self._system = system
        self._session = session
        self._changed = changed

    async def listen(self) -> None:
        def again(heard: Signal) -> None:
            self._changed()

        for member in ("InhibitorAdded", "InhibitorRemoved"):
            await self._session.subscribe(_GNOME, _GNOME_PATH, _GNOME, member, again)
        await self._session.subscribe(
            _POWER, _POWER_PATH, _POWER_INHIBIT, "HasInhibitChanged", again
        )
        await self._system.subscribe(_LOGIND, _LOGIND_PATH, _PROPERTIES, "PropertiesChanged", again)

    async def reasons(self) -> list[str]:
        """A few words for each thing that keeps the user busy, each once."""
        found: list[str] = []
        for bus, name, ask in (
            (self._session, _GNOME, self._gnome),
            (self._session, _POWER, self._power),
            (self._system, _LOGIND, self._logind),
        ):
            try:
                if await _is_there(bus, name):
                    found += await ask()
            except ServiceError as error:  # the others know, too
                log.info("%s does not tell who is busy: %s", name, error)
        return list(dict.fromkeys(found))

    async def _gnome(self) -> list[str]:
        [paths] = await self._session.call(_GNOME, _GNOME_PATH, _GNOME, "GetInhibitors")
        found = []
        for path in paths:

            async def get(member: str, path: str = path) -> Any:
                [value] = await self._session.call(_GNOME, path, _GNOME_INHIBITOR, member)
                return value

            try:
                if await get("GetFlags") & (_GNOME_LOGOUT | _GNOME_IDLE):
                    found.append(await get("GetReason") or await get("GetAppId"))
            except ServiceError as error:  # gone meanwhile
                log.debug("%s", error)
        return found

    async def _power(self) -> list[str]:
        [has] = await self._session.call(_POWER, _POWER_PATH, _POWER_INHIBIT, "HasInhibit")
        return ["an application keeps the screen on"] if has else []

    async def _logind(self) -> list[str]:
        [held] = await self._system.call(_LOGIND, _LOGIND_PATH, _LOGIND_MANAGER, "ListInhibitors")
        return [
            f"{who}: {why}"
            for what, who, why, mode, uid, _ in held
            if uid == os.getuid() and mode == "block" and _LOGIND_WHAT & set(what.split(":"))
        ]


async def _is_there(bus: Bus, name: str) -> bool:
    """Whether somebody owns it: nothing is started only to be asked."""
    [owned] = await bus.call(_BUS, "/org/freedesktop/DBus", _BUS, "NameHasOwner", "s", name)
    return bool(owned)
