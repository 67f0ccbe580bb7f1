# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon as the window sees it: calls and signals of org.liveupdate1, by Gio.

Calls start the daemon where it is not running, and may ask for a password (polkit).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from liveupdated import contract

from .toolkit import Gio, GLib

_PROPERTIES = "org.freedesktop.DBus.Properties"
_ANSWER_MS = 300_000
"""A password may have to be typed; finding thousands of workloads takes its time, too."""


@dataclass(frozen=True)
class Problem:
    """Why a call failed."""

    name: str
    """As ``org.liveupdate1.Error.Busy``; empty where the fault is none of D-Bus."""
    text: str


@dataclass(frozen=True)
class Signal:
    path: str
    interface: str
    member: str
    arguments: tuple[Any, ...]


Then = Callable[..., None]
"""Called with what the method returned."""
Failed = Callable[[Problem], None]


class Daemon:
    """The methods and signals of the contract."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def call(
        self,
        member: str,
        arguments: Any,
        then: Then,
        failed: Failed,
        *,
        path: str = contract.ROOT,
        interface: str = contract.MANAGER,
    ) -> None:
        """Call a method, of the manager unless said otherwise; `arguments` is a tuple's variant."""

        def answered(connection: Any, result: Any) -> None:
            try:
                answer = connection.call_finish(result)
            except GLib.Error as error:
                failed(problem(error))
            else:
                then(*answer.unpack())

        self._connection.call(
            contract.NAME,
            path,
            interface,
            member,
            arguments,
            None,
            Gio.DBusCallFlags.ALLOW_INTERACTIVE_AUTHORIZATION,
            _ANSWER_MS,
            None,
            answered,
        )

    def properties(self, path: str, interface: str, then: Then, failed: Failed) -> None:
        """All properties of an object."""
        arguments = GLib.Variant("(s)", (interface,))
        self.call("GetAll", arguments, then, failed, path=path, interface=_PROPERTIES)

    def listen(self, heard: Callable[[Signal], None]) -> None:
        """Have every signal of the daemon."""

        def received(_: Any, __: str, path: str, interface: str, member: str, args: Any) -> None:
            heard(Signal(path, interface, member, args.unpack()))

        self._connection.signal_subscribe(
            contract.NAME, None, None, None, None, Gio.DBusSignalFlags.NONE, received
        )


def problem(error: Any) -> Problem:
    """What GLib says about a call that failed."""
    name = Gio.DBusError.get_remote_error(error) or ""
    # strip_remote_error() would change a copy, here.
    return Problem(name, error.message.removeprefix(f"GDBus.Error:{name}: "))


def options(**given: Any) -> Any:
    """``a{sv}`` of strings and lists of strings; what is empty is left out."""
    return {
        name.replace("_", "-"): GLib.Variant("s" if isinstance(value, str) else "as", value)
        for name, value in given.items()
        if value
    }
