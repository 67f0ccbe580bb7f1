# SPDX-License-Identifier: LGPL-2.1-or-later
"""A user's bus with what a desktop has on it: notifications, a session manager, a window."""

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from liveupdated.bus import Bus
    from liveupdated.exports import Call

SCREEN = "org.freedesktop.Notifications"
SCREEN_PATH = "/org/freedesktop/Notifications"
GNOME = "org.gnome.SessionManager"
GNOME_PATH = "/org/gnome/SessionManager"
WINDOW = "org.liveupdate1.Window"


@contextlib.contextmanager
def session_bus() -> Iterator[str]:
    """The address of a bus of its own."""
    command = ["dbus-daemon", "--session", "--nofork", "--print-address=1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@dataclass
class Desktop:
    """Answers for the whole desktop, and remembers what was shown."""

    bus: "Bus"
    capabilities: list[str] = field(default_factory=lambda: ["actions", "body", "body-markup"])
    shown: dict[int, tuple[str, str, list[str]]] = field(default_factory=dict)
    """What is on the screen: title, body, keys of the actions."""
    titles: list[str] = field(default_factory=list)
    """All there ever were."""
    inhibitors: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Flags and reason of GNOME's, by path."""
    opened: list[dict[str, Any]] = field(default_factory=list)
    """With what the window was opened."""

    async def start(self) -> None:
        self.bus.dispatch = self._answer  # type: ignore[method-assign]
        for name in (SCREEN, GNOME, WINDOW):
            await self.bus.request_name(name)

    async def _answer(self, call: "Call", signature: str, args: list[Any]) -> tuple[str, list[Any]]:
        match call.member, args:
            case "GetCapabilities", []:
                return "as", [self.capabilities]
            case "Notify", [_, replaces, _, title, body, actions, _, _]:
                number = replaces or len(self.titles) + 1
                self.shown[number] = (title, body, actions[::2])
                self.titles.append(title)
                return "u", [number]
            case "CloseNotification", [number]:
                self.close(number)
                return "", []
            case "GetInhibitors", []:
                return "ao", [list(self.inhibitors)]
            case "GetFlags", []:
                return "u", [self.inhibitors[call.path][0]]
            case "GetReason", []:
                return "s", [self.inhibitors[call.path][1]]
            case "Activate", [platform_data]:
                self.opened.append({key: value.value for key, value in platform_data.items()})
                return "", []
        raise AssertionError(f"{call.member}({signature}) was not expected")

    def number(self, title: str) -> int:
        [number] = [number for number, (shown, _, _) in self.shown.items() if shown == title]
        return number

    def press(self, number: int, action: str) -> None:
        """Press a button of a notification."""
        self._signal("ActivationToken", "us", number, "token")
        self._signal("ActionInvoked", "us", number, action)
        self.close(number)

    def close(self, number: int) -> None:
        if self.shown.pop(number, None):
            self._signal("NotificationClosed", "uu", number, 3)

    def inhibit(self, name: str, flags: int, reason: str) -> None:
        self.inhibitors[f"{GNOME_PATH}/{name}"] = (flags, reason)
        self._gnome_signal("InhibitorAdded", name)

    def uninhibit(self, name: str) -> None:
        del self.inhibitors[f"{GNOME_PATH}/{name}"]
        self._gnome_signal("InhibitorRemoved", name)

    def _signal(self, member: str, signature: str, *args: Any) -> None:
        self.bus.send_signal(SCREEN_PATH, SCREEN, member, signature, list(args))

    def _gnome_signal(self, member: str, name: str) -> None:
        self.bus.send_signal(GNOME_PATH, GNOME, member, "o", [f"{GNOME_PATH}/{name}"])
