# SPDX-License-Identifier: LGPL-2.1-or-later
"""The units of ours that processes come back in, and live on in: one a tree, in its user's slice.

Each ends with the last of its processes, as a scope does.  Standard library only.
"""

import contextlib
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from liveupdated import cgroup, criu, paths, systemd, unitfiles, unitrestore, unitwatch
from liveupdated.procs import again, places
from liveupdated.session import Json, Outcome

CARRY, START = "restore-unit", "restore-process"
LIMIT_S = 400.0
POLL_S = 0.1
ENDED = ("inactive", "failed")

_watch = unitwatch.Watch()


@dataclass(frozen=True)
class Place:
    """Where the processes belong."""

    called: str
    slice: str
    origin: str
    """The cgroup that a rule knows them by."""
    runtime_uids: Sequence[str] = ()
    """Whose folder below /run/user has to be there."""


def name(artifacts: Path) -> str:
    """Another in each session: the one of before may still hold processes that were not carried."""
    return f"{places.OWN}{hashlib.sha256(str(artifacts).encode()).hexdigest()[:12]}.service"


def text(place: Place, launcher: str, artifacts: Path, digest: str, *, weight: int = 100) -> str:
    """The unit file."""
    work = unitrestore.folder(name(artifacts))
    wants = " ".join(f"user-runtime-dir@{uid}.service" for uid in place.runtime_uids)
    kind = f"Type=exec\nExecStartPost=/usr/bin/touch {work}/running"
    if launcher == CARRY:  # it touches that itself
        kind = f"Type=forking\nPIDFile={work}/pid"
    return f"""\
# Written by liveupdated: processes of no service, brought back after a live update.
[Unit]
Description={place.called.replace("%", "%%")}, Brought Back after a Live Update
After={paths.RESTORE_UNIT} {wants}
Wants={wants}
[Service]
StartupCPUWeight={weight}
{kind}
# It goes on until the last of its processes ends, and however that ends is not a failure.
ExitType=cgroup
SuccessExitStatus=SIGKILL SIGTERM SIGHUP SIGINT
ExecStart={paths.LIBEXEC}/{launcher} {artifacts} {digest} {work}
# As in a session's scope: shells end at SIGHUP.
SendSIGHUP=yes
Slice={place.slice or "system.slice"}
TasksMax=infinity
OOMPolicy=continue
TimeoutStartSec={unitrestore.START_LIMIT_S}
{places.came_from(place.origin)}"""


def start(unit: str, content: str) -> None:
    """Write the unit file and enqueue its start.  Raises ServiceError."""
    unitfiles.start(unit, {f"{systemd.RUNTIME_UNITS}/{unit}": content})


def start_again(place: Place, saved: dict[str, Json]) -> tuple[str, Outcome, str]:
    """Start what `again.save` has noted: the unit that it is in then, whether it runs, and why not.

    Raises LiveUpdateError when systemd does not take the unit.
    """
    folder = Path(saved["folder"])
    unit = name(folder)
    unitrestore.prepare(unit)
    start(unit, text(place, START, folder, saved["digest"]))
    outcome, reason = _runs_again(unit, saved["digest"])
    if outcome is Outcome.FAILED:
        systemd.forget_failure(unit)
    return unit, outcome, reason


def came_back(unit: str) -> bool:
    """Wait until its start is over; whether its processes are what they were."""
    _watch.until(unit, unitwatch.at_rest, LIMIT_S)
    came = (unitrestore.folder(unit) / "running").exists()
    if not came:
        systemd.forget_failure(unit)
    return came


def _runs_again(unit: str, digest: str) -> tuple[Outcome, str]:
    """Wait until the launcher has become that program, or has failed to."""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        shown = systemd.show_one(unit, "ActiveState", "MainPID", "Job", "Result")
        if again.runs(int(shown.get("MainPID") or "0"), digest):
            return Outcome.RESTARTED, ""
        if shown.get("ActiveState") in ENDED and not unitwatch.has_job(shown):
            if error := why(unit):
                return Outcome.FAILED, error
            if not (unitrestore.folder(unit) / "running").exists():
                return Outcome.FAILED, f"it was not started ({shown.get('Result')})"
            return Outcome.RESTARTED, "it has come to its end since"
        time.sleep(POLL_S)
    return Outcome.FAILED, f"not up after {LIMIT_S:.0f} s"


def move(unit: str, control_group: str) -> None:
    """Put its processes into the cgroup, one made by hand, that they were in; empty for none.

    The unit goes on to know its main process.  Raises ServiceError, OSError.
    """
    if not control_group:
        return
    own = systemd.show_one(unit, "ControlGroup").get("ControlGroup", "")
    for pid in cgroup.pids(cgroup.folder(own)):
        with contextlib.suppress(ProcessLookupError):
            (cgroup.folder(control_group) / "cgroup.procs").write_text(str(pid))


def why(unit: str) -> str:
    """What the launcher, or CRIU, said about a failure."""
    folder = unitrestore.folder(unit)
    return unitrestore.read_text(folder / "error") or criu.first_error(folder / "restore.log")
