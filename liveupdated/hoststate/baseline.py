# SPDX-License-Identifier: LGPL-2.1-or-later
"""The baseline: the host state that a boot has set, by which what was changed since is known.

Noted once a boot, when the boot is complete (or when liveupdated is installed).  A restore puts
back things of its own in that boot, before or after the note is taken; it notes, too, what it has
found in their place, and that is what counts as the boot's.  So what was once changed by hand is
known as such through any number of updates.
"""

import json
import time
from dataclasses import dataclass

from liveupdated import paths, systemd
from liveupdated.errors import LiveUpdateError
from liveupdated.hoststate import CATEGORIES
from liveupdated.hoststate.category import Category, Snapshot
from liveupdated.session import write_durably

STARTING = ("initializing", "starting")
"""SystemState of org.freedesktop.systemd1(5) while a boot is under way."""


@dataclass(frozen=True)
class Baseline:
    """What the boot has set, by category."""

    since: str
    """When it was noted; empty when that was at the end of the boot."""
    snapshots: dict[str, Snapshot]


def take() -> None:
    """Note the state of now, unless this boot's is known already."""
    if paths.BASELINE.exists():
        return
    snapshots = {}
    # Last to first: nft, asked for its tables, loads a module.
    for category in reversed(CATEGORIES.values()):
        try:
            snapshots[category.name] = category.snapshot()
        except (LiveUpdateError, OSError, ValueError) as error:
            # `find` says that this category is not known.
            print(f"liveupdated: the {category.title} cannot be read: {error}")
    booting = systemd.manager("SystemState").get("SystemState") in STARTING
    since = "" if booting else time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    paths.BASELINE.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    data = json.dumps({"since": since, "snapshots": snapshots})
    write_durably(paths.BASELINE, data.encode())


def read() -> Baseline | None:
    """The baseline of this boot, without what a restore has put back; None when there is none."""
    try:
        noted = json.loads(paths.BASELINE.read_bytes())
    except FileNotFoundError:
        return None
    snapshots: dict[str, Snapshot] = noted["snapshots"]
    for name, snapshot in snapshots.items():
        without(snapshot, put_back(CATEGORIES[name]))
    return Baseline(noted["since"], snapshots)


PutBack = dict[str, tuple[str, str | None]]
"""Key to what was put back, and what was there before."""


def without(snapshot: Snapshot, put: PutBack) -> None:
    """Take out of the snapshot what a restore had put there by then."""
    for key, (value, before) in put.items():
        if snapshot.get(key) != value:
            continue  # noted before it was put back, or the boot has set it again since
        if before is None:
            del snapshot[key]
        else:
            snapshot[key] = before


def put_back(category: Category) -> PutBack:
    """What restores of this boot have put back."""
    try:
        noted = json.loads((paths.PUT_BACK / category.name).read_bytes())
    except FileNotFoundError:
        return {}
    return {key: (value, before) for key, (value, before) in noted.items()}


def note_put_back(category: Category, put: PutBack) -> None:
    """Remember these, too: before they are put back, so that none is ever forgotten."""
    paths.PUT_BACK.mkdir(mode=0o700, parents=True, exist_ok=True)
    noted = put_back(category) | put
    write_durably(paths.PUT_BACK / category.name, json.dumps(noted).encode())
