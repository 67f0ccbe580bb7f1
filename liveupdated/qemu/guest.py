# SPDX-License-Identifier: LGPL-2.1-or-later
"""One look at a guest through its monitor: what it stands on, and why it could not be carried."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from liveupdated import pci
from liveupdated.errors import ServiceError
from liveupdated.qemu import cmdline, files
from liveupdated.qemu.qmp import Monitor
from liveupdated.session import Json

OLDEST = (9, 0)
"""QEMU: cpr-reboot, `file:` and in it descriptors that it is handed (its ChangeLog)."""
SUSPENDED = "suspended"
"""To RAM (S3): stopped, saved, loaded and continued it is that again (QEMU's ChangeLog/9.0)."""
STATES = ("running", "paused", SUSPENDED)
"""From which a guest can be carried (RunState of qapi/run-state.json)."""
MIGRATING = ("setup", "active", "device", "pre-switchover", "wait-unplug", "cancelling")
"""MigrationStatus of qapi/migration.json: somebody's migration is under way."""
LOCAL_DRIVERS = ("file", "host_device", "host_cdrom")
REMOTE_DRIVERS = ("nbd", "rbd", "iscsi", "ssh", "nfs", "gluster", "http", "https", "ftp", "ftps")
"""BlockdevDriver of qapi/block-core.json."""
FILE_BACKEND = "child<memory-backend-file>"


@dataclass(frozen=True)
class Look:
    """What the monitor, and the kernel, say of the guest."""

    machine: str
    """The versioned machine type."""
    images: tuple[str, ...]
    unchecked: tuple[str, ...]
    """Images that are no files of this host: nothing tells here whether they were written."""
    ram: tuple[str, ...]
    """The files that hold its RAM, where that can stay in them; else its RAM is saved."""
    obstacles: tuple[str, ...]


def look(monitor: Monitor, pid: int, argv: Sequence[str]) -> Look:
    """Look at the guest that `pid` runs.  Changes nothing; raises ServiceError, OSError."""
    in_memory = files.devices_in_memory()
    nodes = monitor.execute("query-named-block-nodes")
    images = sorted({node["file"] for node in nodes if node["drv"] in LOCAL_DRIVERS})
    images = [path for path in images if path != os.devnull]
    unchecked = sorted({node["file"] for node in nodes if node["drv"] in REMOTE_DRIVERS})
    found = [*_version(monitor), *_state(monitor), *_devices(monitor, pid, argv)]
    for path in images:
        found += files.obstacles(pid, "its disk image", path, in_memory)
    found += _media(monitor, argv)
    machine: str = monitor.execute("qom-get", {"path": "/machine", "property": "type"})
    return Look(
        machine=machine.removesuffix("-machine"),
        images=tuple(images),
        unchecked=tuple(unchecked),
        ram=tuple(_ram_files(monitor, pid, in_memory)),
        obstacles=tuple(dict.fromkeys(found)),
    )


def _version(monitor: Monitor) -> list[str]:
    if monitor.version >= OLDEST:
        return []
    have, need = (".".join(map(str, version)) for version in (monitor.version, OLDEST))
    return [f"QEMU {have} cannot save it for another boot (way out: QEMU {need} or later)"]


def _state(monitor: Monitor) -> list[str]:
    found = []
    state = monitor.execute("query-status")["status"]
    if state not in STATES:
        found.append(f"QEMU says that it is {state}")
    migration = monitor.execute("query-migrate")
    if migration.get("status") in MIGRATING:
        found.append("a migration of it is under way")
    found += [f"QEMU says: {reason}" for reason in migration.get("blocked-reasons", [])]
    return found


def suspended(monitor: Monitor) -> bool:
    """Whether the guest is suspended to RAM."""
    return bool(monitor.execute("query-status")["status"] == SUSPENDED)


def _devices(monitor: Monitor, pid: int, argv: Sequence[str]) -> list[str]:
    """Devices of the host, and devices that the command line does not know."""
    found = []
    # QEMU takes these along in the mode cpr-reboot, and in no other state: the guest's drivers have
    # put them to rest and set them up again later (vfio_cpr_reboot_notifier() of hw/vfio/cpr.c).
    if not suspended(monitor):
        found = [
            f"it has {device} of the host (VFIO) (way out: have the guest suspend to RAM, shut it "
            "down, or declare that it may be started afresh)"
            for device in pci.opened_by(pid)
        ]
    named = cmdline.named_devices(argv)
    found += [
        f"its device {name} was plugged in while it ran, its command line does not have it"
        for name in _children(monitor, "/machine/peripheral")
        if name not in named
    ]
    return found


def _children(monitor: Monitor, path: str, kind: str = "") -> list[str]:
    return [
        child["name"]
        for child in monitor.execute("qom-list", {"path": path})
        if child["type"].startswith("child<") and kind in ("", child["type"])
    ]


def _media(monitor: Monitor, argv: Sequence[str]) -> list[str]:
    """Drives in which there is something else than at the start: a snapshot's overlay, a disc."""
    said = [word.replace(",,", ",") for word in argv]
    found = []
    for drive in monitor.execute("query-block"):
        name = drive.get("inserted", {}).get("image", {}).get("filename", "")
        for path in _file_names(name):
            if not any(path in word for word in said):
                which = drive.get("qdev") or drive["device"]
                found.append(
                    f"its drive {which} holds {path}, which its command line does not have"
                )
    return found


def _file_names(name: str) -> list[str]:
    """The files in a name, which may be a description of nodes (`json:`)."""
    if not name.startswith("json:"):
        return [name] if name else []
    names: list[str] = []
    todo: list[Json] = [json.loads(name.removeprefix("json:"))]
    while todo:
        for key, value in todo.pop().items():
            if isinstance(value, dict):
                todo.append(value)
            elif key.rpartition(".")[2] == "filename":
                names.append(value)
    return names


def _ram_files(monitor: Monitor, pid: int, in_memory: set[int]) -> list[str]:
    """The files that hold RAM, shared with it, if each of them outlives the boot."""
    found = []
    for name in _children(monitor, "/objects", FILE_BACKEND):
        if not _property(monitor, name, "share"):
            continue
        path = str(_property(monitor, name, "mem-path"))
        lost = files.obstacles(pid, "its RAM", path, in_memory)
        if lost or _property(monitor, name, "discard-data") or not Path(path).is_file():
            return []  # QEMU leaves out the RAM of all such files, or of none
        found.append(path)
    return found


def _property(monitor: Monitor, backend: str, name: str) -> Json:
    return monitor.execute("qom-get", {"path": f"/objects/{backend}", "property": name})


def carriable(monitor: Monitor, pid: int, argv: Sequence[str]) -> Look:
    """The same look, for the save.  Raises ServiceError when something stands in the way."""
    found = look(monitor, pid, argv)
    if found.obstacles:
        raise ServiceError("it cannot be carried", "; ".join(found.obstacles))
    return found
