# SPDX-License-Identifier: LGPL-2.1-or-later
"""The one tree of errors.

Every error says *what* went wrong, naming the thing; *why*, as far as known; and a *hint*: the way
out.  The class decides how it leaves the program: `dbus_name` on the bus (below
``org.liveupdate1.Error.``) and `exit_code` on the command line.  Nothing else maps errors.
"""

from typing import ClassVar


class LiveUpdateError(Exception):
    """Base of everything this project raises on purpose."""

    dbus_name: ClassVar[str] = "Failed"
    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        text = self.what
        if self.why:
            text += f": {self.why}"
        if self.hint:
            text += f" ({self.hint})"
        return text


# --- what the caller asked for cannot be done as asked: nothing was changed ---


class InvalidArgument(LiveUpdateError):
    """A value is malformed, or an option is unknown."""

    dbus_name = "InvalidArgument"
    exit_code = 2


class NotAuthorized(LiveUpdateError):
    """polkit said no."""

    dbus_name = "NotAuthorized"
    exit_code = 4


class NotFound(LiveUpdateError):
    """No such kernel, workload, job or session."""

    dbus_name = "NotFound"
    exit_code = 5


class Busy(LiveUpdateError):
    """Another update, or a job that excludes this one, is under way."""

    dbus_name = "Busy"
    exit_code = 6


class Blocked(LiveUpdateError):
    """The plan has blockers, or losses nobody agreed to."""

    dbus_name = "Blocked"
    exit_code = 7


class Inhibited(LiveUpdateError):
    """Somebody holds a block inhibitor."""

    dbus_name = "Inhibited"
    exit_code = 8


class BadKernel(LiveUpdateError):
    """An image that must not, or cannot, be booted here."""

    dbus_name = "BadKernel"
    exit_code = 9


class NotStaged(LiveUpdateError):
    """A step needs a staged kernel and there is none."""

    dbus_name = "NotStaged"
    exit_code = 10


class BudgetExceeded(LiveUpdateError):
    """The save took so long that the blackout would exceed its limit; all were resumed."""

    dbus_name = "BudgetExceeded"
    exit_code = 11


# --- the host could not do it ---


class KexecRefused(LiveUpdateError):
    """The running kernel refused to load or unload an image."""

    dbus_name = "KexecRefused"
    exit_code = 20


class NoSpace(LiveUpdateError):
    """The state folder has no room for what must be saved."""

    dbus_name = "NoSpace"
    exit_code = 21


class SaveFailed(LiveUpdateError):
    """A workload could not be saved; all were resumed."""

    dbus_name = "SaveFailed"
    exit_code = 22


class RestoreFailed(LiveUpdateError):
    """A workload could not be brought back from its saved state."""

    dbus_name = "RestoreFailed"
    exit_code = 23


class BadSession(LiveUpdateError):
    """The session document is missing, altered, stale or of another machine."""

    dbus_name = "BadSession"
    exit_code = 24


class Cancelled(LiveUpdateError):
    """Somebody cancelled the job; what had been done was undone."""

    dbus_name = "Cancelled"
    exit_code = 25


class ServiceError(LiveUpdateError):
    """systemd, logind, polkit or the bus did not do what was asked of them."""

    dbus_name = "ServiceError"
    exit_code = 26


class Disconnected(ServiceError):
    """The bus, or the daemon behind it, is not there."""

    dbus_name = "Disconnected"
    exit_code = 27


def all_errors() -> list[type[LiveUpdateError]]:
    """Every class of the tree, the base first."""
    found: list[type[LiveUpdateError]] = [LiveUpdateError]
    for cls in found:
        found.extend(cls.__subclasses__())
    return found


def by_dbus_name(name: str) -> type[LiveUpdateError]:
    """The class whose last name part is `name`; the base class for an unknown one."""
    return next((cls for cls in all_errors() if cls.dbus_name == name), LiveUpdateError)
