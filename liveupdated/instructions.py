# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a save leaves for the launcher that systemd starts after the jump, vouched for by a digest.

The session holds the digest; the launcher is told it on its command line.  Standard library only.
"""

import hashlib
import json
import time
from pathlib import Path

from liveupdated import paths
from liveupdated.errors import RestoreFailed
from liveupdated.session import Json, write_durably

FILE = "launch.json"
TURN_LIMIT_S = 600.0
"""How long a launcher waits for what its workload needs: the restore worker, which sees what comes
back and what does not, ends it."""
POLL_S = 0.02


def write(artifacts: Path, data: dict[str, Json]) -> str:
    """Write them; returns their digest."""
    text = json.dumps(data).encode()
    write_durably(artifacts / FILE, text)
    return hashlib.sha256(text).hexdigest()


def read(artifacts: Path, digest: str) -> dict[str, Json]:
    """The instructions, once it is the workload's turn.

    Raises RestoreFailed when no session was claimed, when they are not what was saved, and when
    what the workload needs does not come back.
    """
    if not paths.CLAIMED.exists():
        raise RestoreFailed("no session was claimed in this boot")
    data = check(artifacts, digest)
    _await_turn(artifacts)
    return data


def check(artifacts: Path, digest: str) -> dict[str, Json]:
    """The instructions.  Raises RestoreFailed when they are not what was saved."""
    text = (artifacts / FILE).read_bytes()
    if hashlib.sha256(text).hexdigest() != digest:
        raise RestoreFailed("its checkpoint was altered", f"{FILE} is not as it was saved")
    data: dict[str, Json] = json.loads(text)
    return data


def refuse_twice(work: Path) -> None:
    """For the launcher of a unit that is its own again later: what was brought back in this boot,
    and has ended since, starts from its own definition.

    Raises RestoreFailed.  systemd's automatic restart is the unit's own by then: the restore worker
    sees to that (`unitrestore.give_back_what_ended`), as no definition may change while a start of
    it is under way.
    """
    if (work / "running").exists():
        raise RestoreFailed("it was brought back in this boot before")


def waits(artifacts: Path) -> Path:
    """A file that is there until all that the workload needs is back."""
    return paths.WAITING / artifacts.name


def _await_turn(artifacts: Path) -> None:
    end = time.monotonic() + TURN_LIMIT_S
    while waits(artifacts).exists():
        if time.monotonic() > end:
            raise RestoreFailed(
                "what it needs is not back", f"after {TURN_LIMIT_S:.0f} s; see the other outcomes"
            )
        time.sleep(POLL_S)
