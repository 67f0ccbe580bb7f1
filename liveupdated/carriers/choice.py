# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which carrier is taken: the quickest that can be used and has room, and why."""

import dataclasses
from collections.abc import Sequence

from liveupdated.carriers import Carrier, disk, pmem

SPACE_RESERVE = 64 << 20
"""Bytes that must stay free on a carrier after the save."""


def find() -> list[Carrier]:
    """What there is, the quickest first; the last one can always be used."""
    return [pmem.probe(), disk.probe()]


def choose(found: Sequence[Carrier], needed: int, cmdline: str | None) -> Carrier:
    """The first that takes `needed` bytes across to a kernel with this command line (None: this
    kernel goes on), or else the last, with what is against the others as the reason."""
    against = []
    for carrier in found[:-1]:
        obstacle = _obstacle(carrier, needed, cmdline)
        if not obstacle:
            return carrier
        against.append(f"not {carrier.name}: {obstacle}")
    return dataclasses.replace(found[-1], reason="; ".join(against) or found[-1].reason)


def _obstacle(carrier: Carrier, needed: int, cmdline: str | None) -> str:
    if carrier.obstacle:
        return carrier.obstacle
    missing = [] if cmdline is None else [w for w in carrier.words if w not in cmdline.split()]
    if missing:
        return f"the new kernel would take that memory, without {' '.join(missing)}"
    if carrier.free_bytes < needed + SPACE_RESERVE:
        return (
            f"{carrier.folder} has {carrier.free_bytes >> 20} MiB free, "
            f"the save needs {(needed + SPACE_RESERVE) >> 20} MiB"
        )
    return ""
