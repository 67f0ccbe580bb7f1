# SPDX-License-Identifier: LGPL-2.1-or-later
"""What systemd says of the timer, as the time of the next update."""

from typing import cast

import pytest

from liveupdated.update import schedule
from liveupdated.update.manager import Manager


class Timer:
    def __init__(self, state: str, elapse_us: int) -> None:
        self._shown = {"ActiveState": state, "NextElapseUSecRealtime": elapse_us}

    async def unit_property(self, unit: str, interface: str, name: str) -> object:
        return self._shown[name]


@pytest.mark.parametrize(
    ("state", "elapse_us", "next_us"),
    [
        ("active", 1_800_000_000_000_000, 1_800_000_000_000_000),
        ("inactive", 1_800_000_000_000_000, 0),
        # As systemd 257 says while what the timer started runs.
        ("active", 2**64 - 1, 0),
    ],
)
async def test_the_next_update(state: str, elapse_us: int, next_us: int) -> None:
    assert await schedule.next_time(cast(Manager, Timer(state, elapse_us))) == next_us
