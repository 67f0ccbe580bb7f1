# SPDX-License-Identifier: LGPL-2.1-or-later
"""Control groups that belong to no unit of systemd's, with their settings.

What a unit makes below its own cgroup (Delegate=) comes and goes with the unit.
"""

import json
import os
import re
import stat
from pathlib import Path

from liveupdated.cgroup import ROOT
from liveupdated.hoststate import managers
from liveupdated.hoststate.category import Category, Snapshot

UNIT = re.compile(r".+\.(slice|service|scope|socket|mount|swap|automount)")
# Orders and counters, not settings (cgroup-v2.rst): what they show is not what was written.
ORDERS = re.compile(
    r"cgroup\.(procs|threads|kill)|.*\.(pressure|reclaim|peak|stat|events)|.*misc\.current"
)
SUBTREE = "cgroup.subtree_control"
TYPE = "cgroup.type"


def snapshot() -> Snapshot:
    """By path below the root of the hierarchy; the setting is JSON, file to text."""
    found: Snapshot = {}
    for folder, folders, files in os.walk(ROOT):
        path = os.path.relpath(folder, ROOT)
        name = os.path.basename(path)
        if path == "." or name.endswith(".slice"):
            continue
        if UNIT.fullmatch(name) or managers.owns_cgroup(name):
            folders.clear()
            continue
        found[path] = json.dumps(_settings(folder, files), sort_keys=True)
    return found


def _settings(folder: str, files: list[str]) -> dict[str, str]:
    settings = {}
    for name in files:
        file = Path(folder, name)
        try:
            if ORDERS.fullmatch(name) or not file.stat().st_mode & stat.S_IWUSR:
                continue
            settings[name] = file.read_text().strip()
        except OSError:  # write-only, or not to be had in this type of cgroup
            continue
    return settings


def put(key: str, value: str) -> None:
    settings: dict[str, str] = json.loads(value)
    folder = ROOT / key
    wanted = {name.partition(".")[0] for name in settings} - {"cgroup"}
    _enable(folder.parent, wanted)
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    # The type first: it decides what else there is.
    for name, text in sorted(settings.items(), key=lambda each: each[0] != TYPE):
        file = folder / name
        if name == SUBTREE:
            _enable(folder, set(text.split()))
        elif not file.exists() or file.read_text().strip() != text:
            for line in text.splitlines() or [""]:
                file.write_text(f"{line}\n")


def _enable(folder: Path, controllers: set[str]) -> None:
    if not folder.is_dir():
        return  # its own turn comes: it is in the snapshot too
    known = set((folder / "cgroup.controllers").read_text().split())
    missing = controllers & known - set((folder / SUBTREE).read_text().split())
    for controller in sorted(missing):
        (folder / SUBTREE).write_text(f"+{controller}")


def same(saved: str, now: str) -> bool:
    """Another kernel may have other files: those of both count."""
    wanted, found = json.loads(saved), json.loads(now)
    controllers = set(wanted.pop(SUBTREE, "").split())
    if not controllers <= set(found.get(SUBTREE, "").split()):
        return False
    return all(found.get(name, text) == text for name, text in wanted.items())


CATEGORY = Category(
    name="cgroup",
    title="control groups",
    snapshot=snapshot,
    put=put,
    same=same,
    provides=lambda key, value: [f"cgroup:/{key}"],
)
