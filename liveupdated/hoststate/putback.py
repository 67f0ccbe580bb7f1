# SPDX-License-Identifier: LGPL-2.1-or-later
"""Putting saved host state back: whatever differs, until nothing does or nothing helps."""

import time
from collections.abc import Sequence

from liveupdated import systemd, unitwatch
from liveupdated.errors import LiveUpdateError
from liveupdated.hoststate import baseline
from liveupdated.hoststate.category import Category, Snapshot, missing

BOOT_LIMIT_S = 180.0
"""For the boot's own units to do their part."""
RETRY_LIMIT_S = 30.0
"""For what something needs (a link, a device) to turn up after that."""
INTERVAL_S = 0.5


def attempt(category: Category, saved: Snapshot) -> dict[str, str]:
    """Put back what differs now; what still does afterwards, with the reason.

    Things of one category may need each other (a VLAN its link, a link its bridge), so there are as
    many rounds as bring something.
    """
    now = _look(category, saved)
    left = missing(category, saved, now)
    if left:
        noted = {key: (value, now.get(key)) for key, value in left.items()}
        baseline.note_put_back(category, noted)
    why: dict[str, str] = {}
    while left:
        for key, value in left.items():
            try:
                category.put(key, value)
                why.pop(key, None)
            except (LiveUpdateError, OSError, ValueError) as error:
                why[key] = str(error)
        now = _look(category, saved)
        before, left = left, missing(category, saved, now)
        if len(left) == len(before):
            break
    return {key: why.get(key) or _instead(now.get(key)) for key in left}


def _look(category: Category, saved: Snapshot) -> Snapshot:
    return category.look(saved) if category.look else category.snapshot()


def _instead(value: str | None) -> str:
    return "it is gone again" if value is None else f"it is {value} again"


def for_good(category: Category, saved: Snapshot) -> dict[str, str]:
    """Once the boot's own units have done their part: what could not be put back, and why."""
    _until_settled(category)
    end = time.monotonic() + RETRY_LIMIT_S
    while left := attempt(category, saved):
        if time.monotonic() > end:
            return left
        time.sleep(INTERVAL_S)
    return {}


def _until_settled(category: Category) -> None:
    end = time.monotonic() + BOOT_LIMIT_S
    while not (_at_rest(category.after) and category.settled()) and time.monotonic() < end:
        time.sleep(INTERVAL_S)


def _at_rest(units: Sequence[str]) -> bool:
    """Whether nothing more comes of them, which is so of one that is not there, too."""
    shown = systemd.show(units, unitwatch.PROPERTIES) if units else {}
    return all(unitwatch.at_rest(unit) for unit in shown.values())
