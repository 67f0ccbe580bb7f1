# SPDX-License-Identifier: LGPL-2.1-or-later
"""Restores that systemd itself does: a unit whose start is, this once, the restore of what it was.

A drop-in makes it so.  What runs in the unit then tells how it goes by files in a folder of its own
below `paths.RESTORING`: `running` or `failed` in the end, and `error` in words.  When that start
fails, systemd's own automatic restart starts the unit afresh, from its own definition, which by
then is back.

The definition must not change while a start is under way: systemd ignores the end of a process that
is none of the new definition's (service_sigchld_event() in its service.c).  `running` and `failed`
are touched while systemd still waits for one: `let_go` and `settle` wait for its end.

Standard library only: the restore worker reads this on the blackout's clock.
"""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event, Lock, Thread

from liveupdated import paths, systemd, unitfiles
from liveupdated.errors import ServiceError
from liveupdated.instructions import TURN_LIMIT_S
from liveupdated.session import Outcome, remove_tree

# systemd reads drop-ins in the order of their names, whatever their folder: ours must be the last,
# after the override.conf of `systemctl edit`.
HOLD_DROPIN = "zzzz-liveupdated-hold.conf"
DROPIN = "zzzz-liveupdated-restore.conf"
FRESH_LIMIT_S = 180
START_LIMIT_S = int(TURN_LIMIT_S) + 180
"""For a start that is a restore: first it waits for its turn."""
RUNNING_LIMIT_S = 400.0
END_LIMIT_S = 20.0
"""For what systemd runs after a start that failed."""
STARTS = 3
"""How often a unit that fails is started: what it needs may come up meanwhile."""
POLL_S = 0.05
SETTLED = "settled"

AFRESH = """\
# If it fails: start afresh without telling the dependents.  By then the restore worker has had this
# file taken away, so the restart is the unit's own.
Restart=on-failure
RestartMode=direct
RestartSec=10s
"""

EARLY = f"""\
# As soon as the file systems are there, not with the rest of the system: what it needs besides, its
# launcher waits for.  Its own After= is in force as ever.
DefaultDependencies=no
After={paths.RESTORE_UNIT} {paths.CRIU_UNIT} local-fs.target systemd-sysctl.service
Conflicts=shutdown.target
Before=shutdown.target
"""
"""For a drop-in's [Unit]."""
AFTER_RUN = "After=systemd-tmpfiles-setup.service\n"
"""With it, for what has something in /run that neither it nor its unit makes."""

_lock = Lock()
_waiting: dict[tuple[str, str], Event] = {}
"""By what ends the wait.  Looked at by one thread: dozens that look would keep a processor from the
restores."""

Why = Callable[[Path], str]
"""What the kind can find out, in the unit's folder, about a failure; beside `error`."""

Fresh = Callable[[str], bool]
"""Whether what the unit of that name brings back was started afresh."""


def folder(name: str) -> Path:
    """Where the restore of this unit tells how it goes."""
    return paths.RESTORING / name


def prepare(name: str) -> Path:
    """Make that folder, empty."""
    work = folder(name)
    remove_tree(work)
    work.mkdir(mode=0o700, parents=True)
    return work


def tried(name: str) -> bool:
    """Whether the restore has had its try."""
    return _there(*_ends(name))


def _ends(name: str) -> tuple[str, str]:
    """The files, one of which is there once the restore has had its try."""
    work = folder(name)
    return f"{work}/running", f"{work}/failed"


def _there(running: str, failed: str) -> bool:
    # Dozens are looked at, twenty times a second: without an exception for each that is not there.
    return os.access(running, os.F_OK) or os.access(failed, os.F_OK)


def until_settled(name: str) -> str:
    """A line for a boot file: once the restore has had its try, the unit is its own again."""
    return until(folder(name) / SETTLED, folder(name) / "failed")


def settle() -> None:
    """All that have come back are their own again."""
    names = [each.name for each in paths.RESTORING.glob("*") if (each / "running").exists()]
    if names:
        _await_started(names)
    for name in names:
        (folder(name) / SETTLED).touch()
    systemd.reload()


def give_back_what_ended() -> None:
    """What has come back, has ended and was started once more, was refused that by its launcher:
    its automatic restart is to be its own."""
    for work in paths.RESTORING.glob("*"):
        if (work / "running").exists() and (work / "failed").exists():
            let_go(work.name)
            (work / "running").unlink()


def let_go(name: str) -> None:
    """What failed is its own again, once systemd waits for nothing of the restore any more."""
    end = time.monotonic() + END_LIMIT_S
    while time.monotonic() < end:
        state = systemd.show_one(name, "SubState").get("SubState", "")
        if not state.startswith(("start", "stop", "final")):
            break
        time.sleep(POLL_S)
    systemd.reload()


def _await_started(names: list[str]) -> bool:
    """Wait until no start of these units is under way; whether none of them failed.

    A unit that was only to start something is inactive then.
    """
    end = time.monotonic() + RUNNING_LIMIT_S
    while True:
        shown = systemd.show(names, ["ActiveState"])
        states = {unit.get("ActiveState", "") for unit in shown.values()}
        if "activating" not in states or time.monotonic() > end:
            return not states & {"activating", "failed"}
        time.sleep(POLL_S)


def until(*served: Path) -> str:
    """A line for a boot file, by which the generator leaves it out once there is one of these."""
    return f"# Until: {' '.join(map(str, served))}\n"


def watch(name: str, why: Why, fresh: Fresh | None = None) -> tuple[Outcome, str]:
    """Wait until systemd has started the unit as it was, or afresh after a failure; and why.

    `fresh` is asked after a failure, where it is not the unit itself that starts afresh.
    """
    if _wait(name):
        return Outcome.CARRIED, read_text(folder(name) / "note")
    cause = _cause(name, why)
    (folder(name) / "failed").touch()  # where it was the limit that ended the wait
    let_go(name)
    came = (fresh or wait_active)(name)
    reason = f"its checkpoint could not be restored ({cause}); "
    if came:
        return Outcome.RESTARTED, reason + "started afresh, its memory is lost"
    return Outcome.FAILED, reason + "and it did not start afresh either"


def in_place(
    name: str, dropins: Mapping[str, str], unit_files: Mapping[str, str], why: Why
) -> None:
    """The same in the boot of the save, after `prepare`.

    Raises ServiceError; then the unit started afresh.
    """
    paths.CLAIMED.touch(mode=0o600)
    files = {f"{systemd.RUNTIME_UNITS}/{path}": text for path, text in dropins.items()}
    systemd.write_files(files)
    try:
        systemd.reload()
        unitfiles.start(name, unit_files)
        # systemd still has the pid to read, where the drop-in says.
        came = _wait(name) and _await_started([name])
    finally:
        systemd.remove_files(files)
        systemd.reload()
    if not came:
        wait_active(name)
        raise ServiceError(f"{name} could not be resumed", _cause(name, why))


def _wait(name: str) -> bool:
    """Until the restore has had its try, or for too long; whether it runs."""
    ends, told = _ends(name), Event()
    with _lock:
        _waiting[ends] = told
        if len(_waiting) == 1:
            Thread(target=_look, daemon=True).start()
    told.wait(RUNNING_LIMIT_S)
    with _lock:
        _waiting.pop(ends, None)
    running, failed = ends
    return os.access(running, os.F_OK) and not os.access(failed, os.F_OK)


def _look() -> None:
    while True:
        with _lock:
            for ends in [ends for ends in _waiting if _there(*ends)]:
                _waiting.pop(ends).set()
            if not _waiting:
                return
        time.sleep(POLL_S)


def _cause(name: str, why: Why) -> str:
    return read_text(folder(name) / "error") or why(folder(name)) or "no error was told"


def afresh(
    name: str, start: bool, unit_files: Mapping[str, str], reason: str
) -> tuple[Outcome, str]:
    """Memory is gone, for `reason`: boot starts the unit, or with `start` we do."""
    try:
        if start:
            unitfiles.start(name, unit_files)
    except ServiceError as error:
        return Outcome.FAILED, f"{reason}; {error}"
    if wait_active(name):
        return Outcome.RESTARTED, reason
    return Outcome.FAILED, f"{reason}, and it does not start"


def wait_active(name: str) -> bool:
    """Wait until the unit runs, and start it when it stands still; whether it does."""
    end = time.monotonic() + FRESH_LIMIT_S
    starts = 0
    while time.monotonic() < end:
        unit = systemd.show_one(name, "ActiveState", "SubState")
        if unit.get("ActiveState") == "active":
            return True
        if unit.get("ActiveState") in ("failed", "inactive"):
            if starts == STARTS:
                return False
            starts += 1
            try:
                systemd.systemctl("reset-failed", "--", name)
                systemd.start(name)
            except ServiceError:
                return False
        time.sleep(0.2)
    return False


def read_text(path: Path) -> str:
    """The text of a file that may not be there."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
