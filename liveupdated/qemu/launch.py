# SPDX-License-Identifier: LGPL-2.1-or-later
"""The launcher of a guest: what systemd runs around its QEMU, this once.

`check` runs before QEMU (ExecStartPre=): the session was claimed, and state, images and files with
RAM are those that were saved.  `load` runs when QEMU has started (ExecStartPost=): it has it load
the state, and lets the guest run.  What either raises fails the start, and the guest starts afresh.

Standard library only: this is on the blackout's clock.
"""

import json
import os
import sys
import time
from pathlib import Path

from liveupdated import instructions
from liveupdated.errors import LiveUpdateError, RestoreFailed, ServiceError
from liveupdated.qemu import files, qmp, snapshot
from liveupdated.session import Json, Mark, mark_now
from liveupdated.timeline.marks import RETURNED, RETURNING, RUNNING, at_boottime

MARKS = "marks.json"
"""In the unit's folder: names of marks with the time of each, in µs of CLOCK_BOOTTIME."""
ANSWER_LIMIT_S = 120.0
POLL_S = 0.02


def main() -> int:
    """`restore-machine check|load ARTIFACTS DIGEST WORK`."""
    step, artifacts, digest, work = sys.argv[1], Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
    try:
        saved = instructions.read(artifacts, digest)
        if step == "check":
            check(artifacts, saved, work)
        else:
            load(artifacts, saved, work, int(os.environ.get("MAINPID", "0")))
    except (LiveUpdateError, OSError) as error:
        print(f"liveupdated: {error}", file=sys.stderr)
        (work / "error").write_text(str(error))
        return 1
    return 0


def check(artifacts: Path, saved: dict[str, Json], work: Path) -> None:
    """Raises RestoreFailed when what was saved is not what is there."""
    instructions.refuse_twice(work)
    _mark(work, RETURNING)
    for name, expected in saved["files"].items():
        path = artifacts / name
        if not path.is_file() or files.fingerprint(path) != expected:
            raise RestoreFailed("its checkpoint was altered", f"{name} is not as it was saved")
    for path, expected in saved["images"].items():
        files.refuse_changed("its disk image", path, expected)
    for path, expected in saved["ram"].items():
        files.refuse_changed("the file with its RAM", path, expected)


def load(artifacts: Path, saved: dict[str, Json], work: Path, pid: int) -> None:
    """Have the waiting QEMU load the state and go on.  Raises RestoreFailed, ServiceError."""
    with _monitor(saved["qmp"], pid) as monitor:
        snapshot.load(monitor, artifacts, in_place=bool(saved["ram"]))
        _mark(work, RETURNED)
        snapshot.go_on(monitor, saved["settings"])
        _mark(work, RUNNING)
    (work / "running").touch()


def _monitor(sockets: list[str], pid: int) -> qmp.Monitor:
    """Wait until QEMU listens."""
    end = time.monotonic() + ANSWER_LIMIT_S
    while True:
        try:
            return qmp.first_free([files.as_seen_by(pid, path) for path in sockets], pid)
        except ServiceError as error:
            if not Path(f"/proc/{pid}").exists():
                raise RestoreFailed("QEMU ended at once", "its words are in the journal") from error
            if time.monotonic() > end:
                raise
        time.sleep(POLL_S)


def _mark(work: Path, name: str) -> None:
    marks = _read_marks(work)
    marks[name] = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    (work / MARKS).write_text(json.dumps(marks))


def _read_marks(work: Path) -> dict[str, int]:
    try:
        marks: dict[str, int] = json.loads((work / MARKS).read_bytes())
    except (OSError, ValueError):
        return {}
    return marks


def read_marks(work: Path, workload: str) -> list[Mark]:
    """The marks that the launcher has left; none when it did not come so far."""
    now = mark_now("", workload)
    return [
        at_boottime(name, time_us, now, workload) for name, time_us in _read_marks(work).items()
    ]
