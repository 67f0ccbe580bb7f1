# SPDX-License-Identifier: LGPL-2.1-or-later
"""Waits for units to be started, many at once with one look at systemd.

Standard library only: used on the restore path, by as many threads as there are units.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable

from liveupdated import systemd

PROPERTIES = (
    "LoadState",
    "ActiveState",
    "SubState",
    "Type",
    "Result",
    "Job",
    "ConditionResult",
    "InactiveExitTimestampMonotonic",
)
INTERVAL_S = 0.3
FINAL = ("active", "reloading", "refreshing", "failed")


class Watch:
    """The state of the units that are waited for, never older than INTERVAL_S."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: Counter[str] = Counter()
        """How many wait for each unit: two may wait for one."""
        self._shown: dict[str, systemd.Properties] = {}
        self._looked = float("-inf")

    def until(
        self, name: str, is_over: Callable[[systemd.Properties], bool], limit_s: float
    ) -> systemd.Properties:
        """Wait until `is_over` of the unit's properties, or for `limit_s`; returns the last ones.

        Raises ServiceError when systemd does not answer.
        """
        # Whatever was seen before somebody began to wait is of another time.
        with self._lock:
            self._waiting[name] += 1
            self._looked = float("-inf")
        end = time.monotonic() + limit_s
        try:
            while True:
                unit = self._look(name)
                if is_over(unit) or time.monotonic() > end:
                    return unit
                time.sleep(INTERVAL_S)
        finally:
            with self._lock:
                self._waiting[name] -= 1

    def _look(self, name: str) -> systemd.Properties:
        with self._lock:
            if time.monotonic() - self._looked >= INTERVAL_S:
                names = sorted(+self._waiting)
                self._shown = systemd.show(names, PROPERTIES)
                self._looked = time.monotonic()
            return self._shown.get(name, {})


def has_job(unit: systemd.Properties) -> bool:
    return unit.get("Job", "0") not in ("", "0")


def at_rest(unit: systemd.Properties) -> bool:
    """Whether nothing more comes by itself: no job, and no change of state under way."""
    return not has_job(unit) and unit.get("ActiveState") in (*FINAL, "inactive")


def runs(unit: systemd.Properties) -> bool:
    """Whether the unit is up; a oneshot service, whether it is at its work."""
    if unit.get("Type") == "oneshot" and unit.get("SubState") == "start":
        return True
    return unit.get("ActiveState") in ("active", "reloading", "refreshing")


def ran(unit: systemd.Properties) -> bool:
    """Whether an inactive unit has run in this boot; one that systemd has forgotten has."""
    if unit.get("LoadState") == "not-found":
        return True
    return unit.get("InactiveExitTimestampMonotonic", "0") not in ("", "0")
