# SPDX-License-Identifier: LGPL-2.1-or-later
"""systemd and logind as far as the idle daemon, and its plan, ask for them.

Every unit that is started is done at once: what it would have written is there already.
"""

import asyncio
import os
from itertools import count
from typing import Any

from liveupdated.bus import Bus
from liveupdated.contract import StandardError, Variant
from liveupdated.exports import Call
from liveupdated.update.jump import LOGIN
from liveupdated.update.manager import MANAGER, SYSTEMD, SYSTEMD_PATH

PROPERTIES = {
    "ActiveState": Variant("s", "inactive"),
    "PreparingForShutdown": Variant("b", False),
    "ActiveEnterTimestampMonotonic": Variant("t", 3_000_000),
    "UserspaceTimestampMonotonic": Variant("t", 1_000_000),
}
_jobs = count(1)


class StandIn(Bus):
    async def dispatch(self, call: Call, signature: str, args: list[Any]) -> tuple[str, list[Any]]:
        match call.member:
            case "Subscribe":
                return "", []
            case "LoadUnit":
                return "o", [f"{SYSTEMD_PATH}/unit/any"]
            case "Get":
                return "v", [PROPERTIES[args[1]]]
            case "UnmaskUnitFiles":
                return "a(sss)", [[]]
            case "Inhibit":
                return "h", [os.open(os.devnull, os.O_RDONLY)]
            case "StartUnit":
                number = next(_jobs)
                job = f"{SYSTEMD_PATH}/job/{number}"
                over = [number, job, args[0], "done"]
                self.send_signal(SYSTEMD_PATH, MANAGER, "JobRemoved", "uoss", over)
                return "o", [job]
            case unknown:
                raise StandardError("UnknownMethod", f"the stand-in has no {unknown}")


async def main() -> None:
    bus = await StandIn.connect()
    await bus.request_name(SYSTEMD)
    await bus.request_name(LOGIN)
    await bus.disconnected


if __name__ == "__main__":
    asyncio.run(main())
