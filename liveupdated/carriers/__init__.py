# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where saved state travels: one module a carrier, each with a `probe()`; `choice` decides.

A session names its carrier, and `session.Store` knows the folder behind the name: nothing that
comes back after a jump is a path.
"""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Carrier:
    """A place for saved state, as it was found."""

    name: str
    folder: Path
    free_bytes: int
    reason: str
    """Why it would be taken, in a sentence."""
    obstacle: str = ""
    """Why it cannot be used at all; empty when it can."""
    words: tuple[str, ...] = ()
    """What has to be on the next kernel's command line for that kernel to leave it alone."""


def to_json(carrier: Carrier) -> dict[str, Any]:
    return dataclasses.asdict(carrier) | {"folder": str(carrier.folder)}


def from_json(data: dict[str, Any]) -> Carrier:
    return Carrier(**data | {"folder": Path(data["folder"]), "words": tuple(data["words"])})


def free_bytes(folder: Path) -> int:
    """What root's processes may still write below it (statvfs(3))."""
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize
