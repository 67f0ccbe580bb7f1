# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is worth carrying."""

import pytest

from liveupdated.candidates import MEMORY, UPTIME_MEMORY, UPTIME_US, worth


@pytest.mark.parametrize(
    ("memory", "up_us", "clients", "why"),
    [
        (MEMORY - 1, UPTIME_US - 1, 0, ""),
        (MEMORY, 0, 0, "64 MiB of memory"),
        (UPTIME_MEMORY, UPTIME_US, 0, "up for 1 day"),
        (UPTIME_MEMORY - 1, 30 * UPTIME_US, 0, ""),
        (MEMORY, 2 * UPTIME_US, 3, "64 MiB of memory, up for 2 days, 3 clients connected"),
        (0, 0, 1, "1 client connected"),
    ],
)
def test_memory_uptime_or_clients(memory: int, up_us: int, clients: int, why: str) -> None:
    assert worth(memory, up_us, clients) == why
