# SPDX-License-Identifier: LGPL-2.1-or-later
"""The time that a monotonic timer unit has left, across a boot.

systemd counts it from events of one boot (systemd.timer(5)): started anew, the unit would wait its
whole span again.  So what is left is noted as a point of the real time, and given to the timer as
its time from activation.  Standard library only: used on the restore path.
"""

import re
import time

from liveupdated.session import Json
from liveupdated.systemd import Properties

# systemd.time(7), "Parsing time spans", as format_timespan() of systemd writes them.
_UNITS_US = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "min": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
    "month": 2_629_800_000_000,
    "y": 31_557_600_000_000,
}
_SPAN = re.compile(r"([0-9.]+)([a-z]+)")
_MONOTONIC = re.compile(r"\{ (On\w+?)USec=(.*?) ; next_elapse=(.*?) \}")
_CALENDAR = re.compile(r"\{ OnCalendar=(.*?) ; next_elapse=")
# Counted from what happens anew after the boot, so they go on being right.
_REPEATING = ("OnUnitActive", "OnUnitInactive")


def span_us(text: str) -> int:
    """A time span as systemctl prints it, in microseconds; 0 for one that is not set."""
    return round(sum(float(value) * _UNITS_US[unit] for value, unit in _SPAN.findall(text)))


def pending(timer: Properties) -> dict[str, Json] | None:
    """When a timer's monotonic times are due, and what it goes on with; None when it has none.

    Needs TimersMonotonic and TimersCalendar of the unit.
    """
    times = _MONOTONIC.findall(timer.get("TimersMonotonic", ""))
    if not times:
        return None
    now_us, real_us = time.monotonic_ns() // 1000, time.time_ns() // 1000
    left = [span_us(next_elapse) - now_us for _, _, next_elapse in times]
    goes_on = [f"{base}Sec={span}" for base, span, _ in times if base in _REPEATING]
    calendar = _CALENDAR.findall(timer.get("TimersCalendar", ""))
    return {
        "left_us": [us for us in left if us > 0],
        "seen_us": real_us,
        "goes_on": goes_on + [f"OnCalendar={expression}" for expression in calendar],
    }


def dropin(timer: dict[str, Json]) -> str:
    """The times of `pending` as they are now.

    None is longer than it was: the clock may be wrong this early in a boot.
    """
    passed_us = max(0, time.time_ns() // 1000 - timer["seen_us"])
    lines = ["# Written by liveupdated: what was left of the time before the jump.", "[Timer]"]
    # An empty value takes away all times of the unit, of every kind.
    lines += ["OnActiveSec=", *timer["goes_on"]]
    lines += [f"OnActiveSec={max(0, left_us - passed_us)}us" for left_us in timer["left_us"]]
    return "\n".join(lines) + "\n"
