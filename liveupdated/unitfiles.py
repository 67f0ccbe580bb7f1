# SPDX-License-Identifier: LGPL-2.1-or-later
"""Unit files that live below /run: taken along, put back, and started as what they were.

A transient unit (systemd-run(1)) is one only for having been made by StartTransientUnit(): the same
file put back by hand is a unit that stays after its stop, with another property Transient=.  So
its file becomes a drop-in of an otherwise empty transient unit, in the folder that systemd itself
cleans up with such a unit (unit_remove_transient() of its unit.c; drop-ins are allowed for them,
see unit_is_pristine() there).  It begins with `00-`: whatever was a drop-in goes on overriding it.

Standard library only: used on the restore path.
"""

import os
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from liveupdated import systemd
from liveupdated.errors import BadSession, ServiceError

if TYPE_CHECKING:
    from liveupdated.host import Host

TRANSIENT_DROPIN = "00-liveupdated.conf"
REMAINING_DROPIN = "zzzz-liveupdated-remaining.conf"
"""Written at each restore; never taken along."""
TRANSIENT = "systemd/transient"
FOLDERS = (
    f"{TRANSIENT}/",
    "systemd/system/",
    "systemd/system.control/",
    "systemd/user/",
    "systemd/user.control/",
)
"""Below /run, or a user's part of it: where unit files of this boot are (systemd.unit(5))."""
BUS_LIMIT_S = 150.0

_one_at_a_time = threading.Lock()


def needs_start(host: "Host", name: str) -> bool:
    """Whether boot alone would not start the unit."""
    return name not in host.boot.started


def unit_files(unit: systemd.Properties) -> dict[str, str]:
    """What of the unit's definition a boot would drop (path below /run: text): its file and its
    drop-ins.  The unit must be loaded with FragmentPath, DropInPaths and Transient."""
    name, fragment = unit.get("Id", ""), unit.get("FragmentPath", "")
    transient = f"{TRANSIENT}/{name}.d/{TRANSIENT_DROPIN}"
    files: dict[str, str] = {}
    if unit.get("Transient") == "yes":
        files[transient] = _read(fragment)
    elif path := _below_run(fragment):
        files[path] = _read(fragment)
        if name.endswith(".socket"):
            # Accept=yes: a service a connection, of a template that nothing may have loaded yet.
            template = f"{name.removesuffix('.socket')}@.service"
            files[str(Path(path).with_name(template))] = _read(
                str(Path(fragment).with_name(template))
            )
    for dropin in unit.get("DropInPaths", "").split():
        path = _below_run(dropin)
        if path == transient:  # this one has come across before
            files[path] += _read(dropin)
        elif path and Path(path).name != REMAINING_DROPIN:
            files[path] = _read(dropin)
    return {path: text for path, text in files.items() if text}


def _below_run(path: str) -> str:
    """The path below /run, if it is in one of FOLDERS; else nothing."""
    below = os.path.relpath(path, systemd.RUN) if path else ""
    return below if below.startswith(FOLDERS) else ""


def _read(path: str) -> str:
    """The text; empty for a mask (a link to /dev/null) and for what is gone."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def put(files: Mapping[str, str]) -> None:
    """Write the files that are not there: what this boot has made itself stays.

    Raises BadSession for a path outside FOLDERS.
    """
    for path, text in files.items():
        if os.path.normpath(path) != path or not path.startswith(FOLDERS):
            raise BadSession(f"{path} is no place for a unit file")
        file = systemd.RUN / path
        # As systemd makes them, whatever the worker's umask.
        for folder in (file.parent.parent, file.parent):
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(0o755)
        try:
            fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        except FileExistsError:
            continue
        with os.fdopen(fd, "w") as opened:
            os.fchmod(fd, 0o644)
            opened.write(text)
    # systemd looks for new files when a unit folder has changed, but does not look at the one for
    # transient units (lookup_paths_mtime_exclude() of its unit-file.c).  A touch is much cheaper
    # than a daemon-reload.
    folder = systemd.RUN / systemd.RUNTIME_UNITS
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)


def start(name: str, files: Mapping[str, str]) -> None:
    """Put the files back and enqueue the unit's start.  Raises ServiceError.

    Transient units among `files` come back as such; that takes the bus and so waits for it.
    """
    put(files)
    if transient := _transient_units(files):
        with _one_at_a_time:
            missing = _not_there(transient)
            if name in missing:
                _start_transient(name, [other for other in missing if other != name])
                return
    if systemd.show_one(name, "NeedDaemonReload").get("NeedDaemonReload") == "yes":
        systemd.reload()
    systemd.start(name, wait=False)


def _transient_units(files: Iterable[str]) -> list[str]:
    return [
        Path(path).parent.name.removesuffix(".d")
        for path in files
        if path.startswith(f"{TRANSIENT}/") and path.endswith(f".d/{TRANSIENT_DROPIN}")
    ]


def _not_there(units: list[str]) -> list[str]:
    shown = systemd.show(units, ["LoadState"])
    return [name for name in units if shown.get(name, {}).get("LoadState") == "not-found"]


def _start_transient(name: str, companions: Iterable[str]) -> None:
    """StartTransientUnit() of org.freedesktop.systemd1(5), with nothing but the drop-ins."""
    signature = "ssa(sv)a(sa(sv))"
    others = [word for other in companions for word in (other, "0")]
    end = time.monotonic() + BUS_LIMIT_S
    # systemctl talks to systemd directly, busctl needs the bus.
    while not (systemd.RUN / systemd.BUS_SOCKET).exists():
        if time.monotonic() > end:
            raise ServiceError(f"{name} could not be started", "the bus does not come up")
        time.sleep(0.1)
    command = ["busctl", *systemd.MANAGER, "--quiet", f"--timeout={BUS_LIMIT_S:.0f}s", "call"]
    command += ["org.freedesktop.systemd1", "/org/freedesktop/systemd1"]
    command += ["org.freedesktop.systemd1.Manager", "StartTransientUnit", signature]
    command += [name, "fail", "0", str(len(others) // 2), *others]
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=BUS_LIMIT_S * 2
        )
    except subprocess.TimeoutExpired as error:
        raise ServiceError(f"{name} could not be started", "busctl did not finish") from error
    if done.returncode != 0:
        raise ServiceError(f"{name} could not be started", done.stderr.strip())
