# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pause, snapshot, restore, resume: a guest's state into a file and back, through its monitor.

`settings.json` below the artifacts says what QEMU's settings were before, from before the pause
until the guest runs on: what is found there is undone, whoever began it.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from liveupdated.errors import RestoreFailed, SaveFailed
from liveupdated.qemu.guest import MIGRATING
from liveupdated.qemu.qmp import Monitor
from liveupdated.session import Json, write_durably
from liveupdated.timeline.marks import FROZEN, PAUSED

STATE = "state"
"""The file with the devices, and with RAM where no file of its own keeps that."""
SETTINGS = "settings.json"
IGNORE_SHARED = "x-ignore-shared"
MODE = "cpr-reboot"
MIGRATION_LIMIT_S = 600.0
CANCEL_LIMIT_S = 30.0
POLL_S = 0.005
EXIT_ON_ERROR = (9, 1)
"""From this QEMU on a load that fails can leave QEMU running, to say why (qapi/migration.json)."""

CONTINUED = ("running", "suspended")
"""What `cont` brings a guest back to, as it was before the stop (RunState)."""


def take(
    monitor: Monitor, artifacts: Path, ram: Sequence[str], mark: Callable[[str], None]
) -> None:
    """Stop the guest and write its state; it stays stopped.  Raises ServiceError, SaveFailed."""
    for path in ram:  # most of it while the guest still runs
        sync(path)
    write_durably(artifacts / SETTINGS, json.dumps(_settings(monitor)).encode())
    mark(FROZEN)
    monitor.execute("stop")
    mark(PAUSED)
    # Nobody else needs the line: without QEMU's limit of 128 MiB a second.
    monitor.execute("migrate-set-parameters", {"mode": MODE, "max-bandwidth": 0})
    _ignore_shared(monitor, bool(ram))
    _migrate(monitor, "migrate", artifacts / STATE, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    status = _wait(monitor, MIGRATION_LIMIT_S)
    if status.get("status") != "completed":
        raise SaveFailed("QEMU could not write its state", _why(status))
    for path in ram:
        sync(path)


def sync(path: str) -> None:
    """Bring what a process has changed of the file, also by mmap(2), to the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def undo(monitor: Monitor, artifacts: Path) -> None:
    """Let a guest run on that `take` has stopped, or had begun to.  Raises ServiceError."""
    settings = read_settings(artifacts)
    if settings is None:
        return
    if monitor.execute("query-migrate").get("status") in MIGRATING:
        monitor.execute("migrate_cancel")
        _wait(monitor, CANCEL_LIMIT_S)
    go_on(monitor, settings)
    (artifacts / SETTINGS).unlink()


def read_settings(artifacts: Path) -> dict[str, Json] | None:
    """What `take` found; None when it had changed nothing."""
    try:
        settings: dict[str, Json] = json.loads((artifacts / SETTINGS).read_bytes())
    except FileNotFoundError:
        return None
    return settings


def load(monitor: Monitor, artifacts: Path, *, in_place: bool) -> None:
    """Bring the state into a QEMU that was started with `-incoming defer`; it stays paused.

    Raises RestoreFailed with QEMU's own words.
    """
    monitor.execute("migrate-set-parameters", {"mode": MODE})
    _ignore_shared(monitor, in_place)
    patience = {"exit-on-error": False} if monitor.version >= EXIT_ON_ERROR else {}
    _migrate(monitor, "migrate-incoming", artifacts / STATE, os.O_RDONLY, patience)
    status = _wait(monitor, MIGRATION_LIMIT_S)
    if status.get("status") != "completed":
        raise RestoreFailed("QEMU could not load its state", _why(status))


def go_on(monitor: Monitor, settings: dict[str, Json]) -> None:
    """Give QEMU its settings back, and let the guest run if it did."""
    _ignore_shared(monitor, settings[IGNORE_SHARED])
    monitor.execute("migrate-set-parameters", settings["parameters"])
    if settings["running"]:
        monitor.execute("cont")


def _settings(monitor: Monitor) -> dict[str, Json]:
    parameters = monitor.execute("query-migrate-parameters")
    capabilities = monitor.execute("query-migrate-capabilities")
    return {
        "running": monitor.execute("query-status")["status"] in CONTINUED,
        "parameters": {key: parameters[key] for key in ("mode", "max-bandwidth")},
        IGNORE_SHARED: {"capability": IGNORE_SHARED, "state": True} in capabilities,
    }


def _ignore_shared(monitor: Monitor, state: bool) -> None:
    capability = {"capability": IGNORE_SHARED, "state": state}
    monitor.execute("migrate-set-capabilities", {"capabilities": [capability]})


def _migrate(
    monitor: Monitor, command: str, path: Path, flags: int, more: dict[str, Json] | None = None
) -> None:
    """Start it, with a descriptor that QEMU, whoever it runs as, could not have opened itself."""
    fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        number = monitor.execute("add-fd", {}, [fd])["fdset-id"]
    finally:
        os.close(fd)
    monitor.execute(command, {"uri": f"file:/dev/fdset/{number}", **(more or {})})


def _wait(monitor: Monitor, limit_s: float) -> dict[str, Json]:
    """Until the migration is over, or for `limit_s`; what query-migrate says then."""
    end = time.monotonic() + limit_s
    while True:
        status: dict[str, Json] = monitor.execute("query-migrate")
        if status.get("status", "setup") not in MIGRATING or time.monotonic() > end:
            return status
        time.sleep(POLL_S)


def _why(status: dict[str, Json]) -> str:
    return str(status.get("error-desc") or f"its migration is {status.get('status', 'not begun')}")
