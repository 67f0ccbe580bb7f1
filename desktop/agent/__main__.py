# SPDX-License-Identifier: LGPL-2.1-or-later
"""`liveupdated-agent.service` of a user's manager runs this."""

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from desktop.agent.agent import Agent
from liveupdated.bus import Bus
from liveupdated.errors import LiveUpdateError


async def _main() -> int:
    system = await Bus.connect()
    session = await Bus.connect(os.environ["DBUS_SESSION_BUS_ADDRESS"])
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    agent = asyncio.create_task(Agent(system, session, Path(state, "liveupdated/told")).run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, agent.cancel)
    done, _ = await asyncio.wait(
        [agent, system.disconnected, session.disconnected], return_when=asyncio.FIRST_COMPLETED
    )
    if agent in done:
        await system.close()
        await session.close()
        return 0 if agent.cancelled() else 1
    # The session ends with its bus; the system's bus comes back, and systemd starts us again.
    return 0 if session.disconnected.done() else 1


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s")
    try:
        sys.exit(asyncio.run(_main()))
    except KeyError:
        sys.exit("liveupdated: there is no session bus ($DBUS_SESSION_BUS_ADDRESS)")
    except LiveUpdateError as error:
        sys.exit(f"liveupdated: {error}")
