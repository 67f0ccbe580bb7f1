# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon: start-up, reload, shutdown.

systemd starts it as ``python3 -I -m liveupdated.daemon``, with Type=notify-reload and a
watchdog: see systemd.service(5) and sd_notify(3).  When nothing happens it wakes up for the
watchdog alone.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time

from liveupdated import contract
from liveupdated.api.backend import Backend
from liveupdated.api.manager import Manager
from liveupdated.api.objects import Objects
from liveupdated.api.polkit import Authority
from liveupdated.bus import Bus
from liveupdated.errors import Disconnected, LiveUpdateError
from liveupdated.systemd import notify

log = logging.getLogger("liveupdated")


class Daemon:
    """The parts, wired together."""

    def __init__(self, bus: Bus, backend: Backend) -> None:
        self._bus = bus
        self._backend = backend
        self._objects = Objects(bus, backend)
        self._reloading: asyncio.Task[None] | None = None
        self._reload_again = False

    async def start(self) -> None:
        """Offer everything, then take the name: whoever is answered finds all of it."""
        self._bus.authorize = Authority(self._bus).check
        manager = Manager(self._bus, self._backend, self._objects)
        self._bus.export(contract.ROOT, contract.MANAGER, manager)
        self._objects.listen()
        await self._backend.start()
        await self._objects.read_all()
        await self._bus.request_name(contract.NAME)

    def reload(self) -> None:
        """SIGHUP.  A second one during a reload makes another after it."""
        if self._reloading is not None:
            self._reload_again = True
            return
        self._reloading = asyncio.get_running_loop().create_task(self._reload())

    async def _reload(self) -> None:
        # systemd matches the reload by a time taken after its signal (sd_notify(3)).
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            await self._backend.reload()
            await self._objects.read_all()
            notify("READY=1\nSTATUS=")
        except LiveUpdateError as error:
            log.error("the reload failed, the settings from before stay: %s", error)
            notify(f"READY=1\nSTATUS=The reload failed: {error.what}")
        finally:
            self._reloading = None
            if self._reload_again:
                self._reload_again = False
                self.reload()

    async def stop(self) -> None:
        """Cancel what can be cancelled, let it undo its work, and go."""
        notify("STOPPING=1")
        await self._backend.jobs.drain()
        with contextlib.suppress(Disconnected):
            await self._backend.stop()
        self._backend.inhibitors.close()
        await self._bus.close()


async def run() -> int:
    """The daemon's life.  Returns its exit status."""
    # Not for whoever only imports this module.
    from liveupdated.config import load_apart  # noqa: PLC0415
    from liveupdated.update.coordinator import Coordinator  # noqa: PLC0415

    bus = await Bus.connect()
    daemon = Daemon(bus, Coordinator(bus, load_apart()))
    return await live(daemon, bus)


async def live(daemon: Daemon, bus: Bus) -> int:
    """From start to SIGTERM, or to the end of the bus."""
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    await daemon.start()
    loop.add_signal_handler(signal.SIGHUP, daemon.reload)
    notify("READY=1\nSTATUS=")
    _feed_watchdog(loop)
    bus.disconnected.add_done_callback(lambda _: ending.set())
    await ending.wait()
    lost = bus.disconnected.done()
    await daemon.stop()
    if lost:
        raise Disconnected("the message bus hung up")
    return 0


def _feed_watchdog(loop: asyncio.AbstractEventLoop) -> None:
    """Say that the loop turns, at half of WATCHDOG_USEC as sd_watchdog_enabled(3) recommends."""
    interval = int(os.environ.get("WATCHDOG_USEC", "0")) / 2 / 1_000_000
    if interval <= 0 or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return

    def feed() -> None:
        notify("WATCHDOG=1")
        loop.call_later(interval, feed)

    feed()


def main() -> int:
    # systemd's journal takes the level from the prefix (sd-daemon(3)) and has its own clock.
    logging.addLevelName(logging.DEBUG, "<7>")
    logging.addLevelName(logging.INFO, "<6>")
    logging.addLevelName(logging.WARNING, "<4>")
    logging.addLevelName(logging.ERROR, "<3>")
    logging.addLevelName(logging.CRITICAL, "<2>")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s%(message)s")
    try:
        return asyncio.run(run())
    except LiveUpdateError as error:
        log.error("%s", error)
        notify(f"STATUS={error.what}")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
