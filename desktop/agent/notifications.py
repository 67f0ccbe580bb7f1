# SPDX-License-Identifier: LGPL-2.1-or-later
"""org.freedesktop.Notifications: the Desktop Notifications Specification, version 1.3."""

import logging
from collections.abc import Callable
from html import escape
from typing import Any

from desktop.agent.words import CRITICAL, Notice
from liveupdated.bus import Bus, Signal
from liveupdated.contract import Variant
from liveupdated.errors import ServiceError

log = logging.getLogger(__name__)

NAME = "org.freedesktop.Notifications"
PATH = "/org/freedesktop/Notifications"
_APPLICATION = "Live Update"
_ICON = "software-update-available-symbolic"
_DEFAULT, _NEVER = -1, 0
"""When a notification goes by itself, ms."""


class Notifications:
    """Those that are shown, each under a key of ours."""

    def __init__(self, bus: Bus, invoked: Callable[[str, str, str], None]) -> None:
        self._bus = bus
        self._invoked = invoked
        """Called with the key, the action and the token that lets a window come to the front."""
        self._ids: dict[str, int] = {}
        self._token = ""

    async def listen(self) -> None:
        for member, heard in (
            ("ActivationToken", self._on_token),
            ("ActionInvoked", self._on_action),
            ("NotificationClosed", self._on_closed),
        ):
            await self._bus.subscribe(NAME, PATH, NAME, member, heard)

    async def show(self, key: str, notice: Notice) -> None:
        """Show it in place of the one before it; a desktop without notifications gets none."""
        try:
            [able] = await self._call("GetCapabilities")
            actions = [part for action in notice.actions for part in action]
            [shown] = await self._call(
                "Notify",
                "susssasa{sv}i",
                _APPLICATION,
                self._ids.get(key, 0),
                _ICON,
                notice.title,
                # Where there is no markup it would be seen.
                escape(notice.body, quote=False) if "body-markup" in able else notice.body,
                actions if "actions" in able else [],
                {"urgency": Variant("y", notice.urgency)},
                _NEVER if notice.urgency == CRITICAL else _DEFAULT,
            )
            self._ids[key] = shown
        except ServiceError as error:
            log.warning("nothing is shown: %s", error)

    async def close(self, key: str) -> None:
        shown = self._ids.pop(key, 0)
        if shown:
            try:
                await self._call("CloseNotification", "u", shown)
            except ServiceError as error:  # it is closed already
                log.debug("%s", error)

    async def _call(self, member: str, signature: str = "", *args: Any) -> list[Any]:
        return await self._bus.call(NAME, PATH, NAME, member, signature, *args)

    def _on_token(self, heard: Signal) -> None:
        self._token = heard.args[1]

    def _on_action(self, heard: Signal) -> None:
        shown, action = heard.args
        token, self._token = self._token, ""
        for key, ours in self._ids.items():
            if ours == shown:
                self._invoked(key, action, token)

    def _on_closed(self, heard: Signal) -> None:
        self._ids = {key: shown for key, shown in self._ids.items() if shown != heard.args[0]}
