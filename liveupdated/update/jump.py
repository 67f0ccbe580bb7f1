# SPDX-License-Identifier: LGPL-2.1-or-later
"""The jump step: logind, which every clean road to kexec leads through.

A delay inhibitor (org.freedesktop.login1(5)) makes logind wait for us, whoever asked: this daemon,
or an operator's `systemctl kexec`.  To refuse an operator's jump, kexec.target is masked for this
boot, so that logind cannot start it; a crash of this daemon in between leaves it masked, and the
machine up.
"""

import asyncio
import logging
import os
from collections.abc import Callable

from liveupdated.bus import Bus, Signal
from liveupdated.errors import LiveUpdateError
from liveupdated.update.manager import Manager

log = logging.getLogger(__name__)

LOGIN = "org.freedesktop.login1"
LOGIN_PATH = "/org/freedesktop/login1"
LOGIN_MANAGER = f"{LOGIN}.Manager"
REBOOT_KEXEC = 0x2
"""SD_LOGIND_REBOOT_VIA_KEXEC; without SD_LOGIND_SKIP_INHIBITORS others' blocks are kept."""
KEXEC_TARGET = "kexec.target"
KINDS = ("poweroff", "reboot", "halt", "kexec", "soft-reboot")
"""handle_action_table of systemd's logind-action.c; the targets have the same names."""
OTHERS_S = 5.0
"""InhibitDelayMaxSec= of logind.conf(5), where nobody sets it."""


class Jump:
    """Our hold on logind."""

    def __init__(self, bus: Bus, manager: Manager) -> None:
        self._bus = bus
        self._manager = manager
        self._fd = -1
        self._masked = False

    async def start(self, on_prepare: Callable[[bool, str], None]) -> None:
        """Hold back shutdowns from now on; `on_prepare(before, type)` is called at each."""

        def prepare(signal: Signal) -> None:
            before, metadata = signal.args
            on_prepare(before, metadata.get("type", ""))

        # Since systemd 255; the plain PrepareForShutdown does not tell a kexec from a power-off.
        await self._bus.subscribe(
            LOGIN, LOGIN_PATH, LOGIN_MANAGER, "PrepareForShutdownWithMetadata", prepare
        )
        await self.hold()
        await self.allow()

    async def hold(self) -> None:
        """Take the delay inhibitor, if we do not have it."""
        if self._fd < 0:
            [self._fd] = await self._bus.call(
                LOGIN,
                LOGIN_PATH,
                LOGIN_MANAGER,
                "Inhibit",
                "ssss",
                "shutdown",
                "liveupdated",
                "Workloads are saved before a kexec",
                "delay",
            )

    def release(self) -> None:
        """Let logind go on."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    async def go_on(self, kind: str) -> None:
        """Let logind go on with the shutdown of that kind, and see that it does.

        Our drop-in has raised its limit for everybody.  Who else holds a delay inhibitor has the
        time that is logind's default: libvirtd, for one, holds it as long as a guest runs, which
        is until the shutdown ends it.
        """
        self.release()
        await asyncio.sleep(OTHERS_S)
        try:
            if kind in KINDS and await self.going_down():
                target = f"{kind}.target"
                await self._manager.call("StartUnit", "ss", target, "replace-irreversibly")
        except LiveUpdateError as error:  # the bus is going down already, say
            log.warning("the shutdown is left to logind: %s", error)

    async def forbid(self) -> None:
        """No kexec by systemd until `allow`."""
        await self._manager.call("MaskUnitFiles", "asbb", [KEXEC_TARGET], True, True)
        await self._manager.call("Reload")

    async def allow(self) -> None:
        """Undo `forbid`, also one from before a crash."""
        [changes] = await self._manager.call("UnmaskUnitFiles", "asb", [KEXEC_TARGET], True)
        if changes:
            await self._manager.call("Reload")

    async def going_down(self) -> bool:
        """Whether a shutdown is under way."""
        [preparing] = await self._bus.call(
            LOGIN,
            LOGIN_PATH,
            "org.freedesktop.DBus.Properties",
            "Get",
            "ss",
            LOGIN_MANAGER,
            "PreparingForShutdown",
        )
        return bool(preparing)

    async def request(self) -> None:
        """Ask for the jump.  Raises RemoteError when logind refuses, for one because somebody
        blocks shutdowns."""
        await self._bus.call(LOGIN, LOGIN_PATH, LOGIN_MANAGER, "RebootWithFlags", "t", REBOOT_KEXEC)
