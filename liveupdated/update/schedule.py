# SPDX-License-Identifier: LGPL-2.1-or-later
"""The schedule: a drop-in of liveupdated-update.timer, so that systemd keeps the time."""

import asyncio

from liveupdated import paths
from liveupdated.errors import InvalidArgument
from liveupdated.update.manager import Manager

USEC_INFINITY = 2**64 - 1
DROPIN = paths.ROOT / f"etc/systemd/system/{paths.UPDATE_TIMER}.d/50-schedule.conf"


async def set_schedule(manager: Manager, calendar: str) -> int:
    """Update at `calendar` (systemd.time(7)) from now on.  Returns the next time, UTC µs.

    Raises InvalidArgument with systemd's own words when it is no calendar expression.
    """
    if not calendar.strip() or not calendar.isprintable():
        raise InvalidArgument(f"{calendar!r} is no calendar expression", "", "see systemd.time(7)")
    check = await asyncio.create_subprocess_exec(
        "systemd-analyze",
        "calendar",
        "--",
        calendar,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await check.communicate()
    if check.returncode != 0:
        raise InvalidArgument(
            f"{calendar!r} is no calendar expression",
            said.decode(errors="replace").strip(),
            "see systemd.time(7)",
        )
    DROPIN.parent.mkdir(parents=True, exist_ok=True)
    # `%` begins a specifier in unit files (systemd.unit(5)).
    quoted = calendar.replace("%", "%%")
    DROPIN.write_text(
        f"# Written by liveupdated.\n[Timer]\nOnCalendar=\nOnCalendar={quoted}\n"
        # Asked for by the minute, and so kept: the shipped timer spreads a fleet over half an hour.
        "RandomizedDelaySec=0\n"
    )
    DROPIN.chmod(0o644)
    await manager.call("EnableUnitFiles", "asbb", [paths.UPDATE_TIMER], False, False)
    await manager.call("Reload")
    await manager.job("RestartUnit", paths.UPDATE_TIMER)
    return await next_time(manager)


async def unset_schedule(manager: Manager) -> None:
    """No update by itself any more."""
    await manager.job("StopUnit", paths.UPDATE_TIMER)
    await manager.call("DisableUnitFiles", "asb", [paths.UPDATE_TIMER], False)
    DROPIN.unlink(missing_ok=True)
    await manager.call("Reload")


async def next_time(manager: Manager) -> int:
    """UTC µs; 0 when nothing is scheduled."""
    state = await manager.unit_property(paths.UPDATE_TIMER, "Unit", "ActiveState")
    if state != "active":
        return 0
    elapse = await manager.unit_property(paths.UPDATE_TIMER, "Timer", "NextElapseUSecRealtime")
    next_us = int(elapse or 0)
    # The timer has fired, and what it started still runs.
    return 0 if next_us == USEC_INFINITY else next_us
