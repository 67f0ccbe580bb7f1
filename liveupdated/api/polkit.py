# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may call what: every method has a polkit action, asked before the method runs."""

from liveupdated import contract
from liveupdated.bus import CALL_S, Bus
from liveupdated.errors import Disconnected, NotAuthorized
from liveupdated.exports import Call

_ACTION = "org.liveupdate1."

STRICTEST = _ACTION + "update"
"""For a method that nobody chose an action for."""

ACTIONS = {
    (contract.MANAGER, "Stage"): _ACTION + "stage",
    (contract.MANAGER, "Unstage"): _ACTION + "stage",
    (contract.MANAGER, "Plan"): _ACTION + "inspect",
    (contract.MANAGER, "Update"): _ACTION + "update",
    (contract.MANAGER, "Rehearse"): _ACTION + "rehearse",
    (contract.MANAGER, "Rollback"): _ACTION + "update",
    (contract.MANAGER, "Confirm"): _ACTION + "configure",
    (contract.MANAGER, "Block"): _ACTION + "configure",
    (contract.MANAGER, "Unblock"): _ACTION + "configure",
    (contract.MANAGER, "Carry"): _ACTION + "configure",
    (contract.MANAGER, "Forget"): _ACTION + "configure",
    (contract.MANAGER, "Schedule"): _ACTION + "configure",
    (contract.MANAGER, "Unschedule"): _ACTION + "configure",
    (contract.MANAGER, "Inhibit"): _ACTION + "inhibit",
    (contract.MANAGER, "ListKernels"): _ACTION + "inspect",
    (contract.MANAGER, "ListWorkloads"): _ACTION + "inspect",
    (contract.MANAGER, "ListJobs"): _ACTION + "inspect",
    (contract.MANAGER, "ListSessions"): _ACTION + "inspect",
    (contract.JOB, "Cancel"): _ACTION + "cancel",
}

_POLKIT = "org.freedesktop.PolicyKit1"
_ALLOW_USER_INTERACTION = 1


class Authority:
    """polkit, as seen from one connection."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def check(self, call: Call) -> None:
        """Raises NotAuthorized unless the caller may call this method.

        The caller is told to polkit by its name on the bus, which cannot be taken over by another
        process, as a process id can (CVE-2011-1485, CVE-2013-4288).
        """
        action = ACTIONS.get((call.interface, call.member), STRICTEST)
        subject = ["system-bus-name", {"name": contract.Variant("s", call.sender)}]
        try:
            [[authorized, _, _]] = await self._bus.call(
                _POLKIT,
                "/org/freedesktop/PolicyKit1/Authority",
                f"{_POLKIT}.Authority",
                "CheckAuthorization",
                "(sa{sv})sa{ss}us",
                subject,
                action,
                {},
                _ALLOW_USER_INTERACTION if call.interactive else 0,
                "",
                # Somebody may be typing a password.
                timeout=None if call.interactive else CALL_S,
            )
        except Disconnected:
            # A host without polkit: as in systemd, root may and nobody else.
            authorized = await caller_uid(self._bus, call.sender) == 0
        if not authorized:
            raise NotAuthorized(
                f"you may not call {call.member}",
                f"polkit does not grant {action}",
                "be root, or allow interactive authorization",
            )


async def caller_uid(bus: Bus, sender: str) -> int:
    """The user id of a connection, as the bus knows it.  Raises ServiceError when it is gone."""
    return int(await _credential(bus, "GetConnectionUnixUser", sender))


async def caller_pid(bus: Bus, sender: str) -> int:
    """The process id of a connection: for people to read, never to decide by."""
    return int(await _credential(bus, "GetConnectionUnixProcessID", sender))


async def _credential(bus: Bus, method: str, sender: str) -> int:
    name = "org.freedesktop.DBus"
    [value] = await bus.call(name, "/org/freedesktop/DBus", name, method, "s", sender)
    return int(value)
