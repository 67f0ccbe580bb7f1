# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon as a process of its own, with a backend in memory."""

import asyncio
import logging
import sys

from liveupdated.bus import Bus
from liveupdated.daemon import Daemon, live
from liveupdated.errors import InvalidArgument, LiveUpdateError
from tests.bus.fakes import FakeBackend


class _Backend(FakeBackend):
    async def reload(self) -> None:
        await super().reload()
        if self.reloads == 2:
            raise InvalidArgument("liveupdated.toml is not valid", "line 3")

    async def stop(self) -> None:
        await super().stop()
        current = self.jobs.current
        print(f"stopped, job: {current.kind if current else 'none'}", flush=True)


async def _main() -> int:
    bus = await Bus.connect()
    return await live(Daemon(bus, _Backend()), bus)


if __name__ == "__main__":
    logging.basicConfig()
    try:
        sys.exit(asyncio.run(_main()))
    except LiveUpdateError as error:
        print(error, flush=True)
        sys.exit(error.exit_code)
