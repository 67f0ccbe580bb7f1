# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which services would be worth carrying, when nobody has said so: the plan proposes them.

Standard library only: a kind of workloads imports it.
"""

MEMORY = 64 << 20
"""Bytes of memory that are worth it by themselves: a cache that would be cold."""
UPTIME_US = 86_400_000_000
"""What has run for a day is not restarted lightly ..."""
UPTIME_MEMORY = 8 << 20
"""... if it has more than this in memory: a service that has less has hardly gathered anything."""


def worth(memory: int, up_us: int, clients: int) -> str:
    """Why it is worth it, in words; empty when it is not."""
    found = []
    if memory >= MEMORY:
        found.append(f"{memory >> 20} MiB of memory")
    if up_us >= UPTIME_US and memory >= UPTIME_MEMORY:
        days = up_us // UPTIME_US
        found.append(f"up for {days} day{'' if days == 1 else 's'}")
    if clients:
        found.append(f"{clients} client{'' if clients == 1 else 's'} connected")
    return ", ".join(found)
