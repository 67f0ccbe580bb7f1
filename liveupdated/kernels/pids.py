# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where the pids of the next boot should begin, so that those carried over stay free.

A carried process gets its old pid back, so early boot must not have taken it.  The kernel counts
pids up from `ns_last_pid`, which can be set on its command line (`sysctl.`, since Linux 5.8).
"""

import itertools
import os
from collections.abc import Iterable

from liveupdated import paths

_FIRST = 300  # RESERVED_PIDS: after wrapping around, the kernel begins here
_STEP = 100_000
_ROOM = 4096
"""Fewer free pids in a row than this are not worth it: early boot would run into the next one."""


def choose_last_pid(last: int, pid_max: int, used: Iterable[int]) -> int | None:
    """The value for ns_last_pid, None when there is no good one.

    `last` is today's ns_last_pid, `used` all pids in use today.
    """
    taken = sorted({pid for pid in used if _FIRST <= pid < pid_max})
    ahead = last + _STEP
    if ahead + _STEP < pid_max and not any(ahead < pid <= ahead + _STEP for pid in taken):
        return ahead
    edges = [_FIRST, *taken, pid_max]
    length, start = max(
        ((after - before, before) for before, after in itertools.pairwise(edges)),
        key=lambda gap: gap[0],
    )
    return start + length // 2 if length >= _ROOM else None


def next_boot() -> tuple[int, int] | None:
    """pid_max and ns_last_pid for the next boot, None when there is no good value.

    A kernel without CONFIG_CHECKPOINT_RESTORE has no ns_last_pid, and nothing to keep free.
    """
    sysctl = paths.ROOT / "proc/sys/kernel"
    try:
        last = int((sysctl / "ns_last_pid").read_text())
    except FileNotFoundError:
        return None
    pid_max = int((sysctl / "pid_max").read_text())
    chosen = choose_last_pid(last, pid_max, used_pids())
    return None if chosen is None else (pid_max, chosen)


def used_pids() -> set[int]:
    """Every number in use as process, thread, process group or session."""
    proc = paths.ROOT / "proc"
    used: set[int] = set()
    for name in filter(str.isdecimal, os.listdir(proc)):
        try:
            used.update(int(thread) for thread in os.listdir(proc / name / "task"))
            fields = (proc / name / "stat").read_text(errors="replace").rpartition(")")[2].split()
            used.update(int(number) for number in fields[2:4])  # pgrp, session: proc(5)
        except OSError:
            continue  # it ended meanwhile
    return used
