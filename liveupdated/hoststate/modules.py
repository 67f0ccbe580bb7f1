# SPDX-License-Identifier: LGPL-2.1-or-later
"""Kernel modules, with the parameters that can be read."""

import os
from fnmatch import fnmatchcase
from pathlib import Path

from liveupdated.hoststate.category import Category, Snapshot, run

ROOT = Path("/sys/module")
LOADED = Path("/proc/modules")
BUILT_IN = "built in"

# The kernel loads these by itself whenever somebody asks for them: ss(8) does, for one.
ON_DEMAND = ("*_diag", "af_packet*", "nls_*")


def snapshot() -> Snapshot:
    """Loaded modules that no other module has brought along."""
    if not LOADED.exists():
        return {}  # the kernel is built without
    found = dict.fromkeys(_built_in(), BUILT_IN)
    for line in LOADED.read_text().splitlines():
        name, _, _, users, state = line.split()[:5]  # proc_modules(5)
        if users == "-" and state == "Live" and not _on_demand(name):
            found[name] = _parameters(name)
    return found


def _on_demand(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in ON_DEMAND)


def _built_in() -> list[str]:
    """What another kernel may have as a module, and the other way round."""
    try:
        lines = Path(f"/usr/lib/modules/{os.uname().release}/modules.builtin").read_text()
    except OSError:
        return []
    return [os.path.basename(line).split(".")[0].replace("-", "_") for line in lines.split()]


def _parameters(name: str) -> str:
    """As on a command line; without those that are not set."""
    words = []
    folder = ROOT / name / "parameters"
    for parameter in sorted(os.listdir(folder)) if folder.is_dir() else []:
        try:
            value = (folder / parameter).read_text().strip()
        except (OSError, UnicodeDecodeError):
            continue
        if value and value != "(null)" and not any(char in value for char in " \t\n\"'"):
            words.append(f"{parameter}={value}")
    return " ".join(words)


def put(key: str, value: str) -> None:
    """Load it; where it is loaded already, set what can be set."""
    words = value.split()
    if not (ROOT / key / "initstate").exists():
        run(["modprobe", "--", key, *words])
    for word in words:
        name, _, wanted = word.partition("=")
        file = ROOT / key / "parameters" / name
        if file.exists() and file.read_text().strip() != wanted:
            file.write_text(wanted)


def same(saved: str, now: str) -> bool:
    """Another kernel's module may have other parameters: those of both count."""
    if BUILT_IN in (saved, now):
        return True
    wanted, found = (dict(word.split("=", 1) for word in text.split()) for text in (saved, now))
    return all(found.get(name, value) == value for name, value in wanted.items())


CATEGORY = Category(
    name="module",
    title="kernel modules",
    snapshot=snapshot,
    put=put,
    same=same,
    provides=lambda key, value: [f"module:{key}"],
    after=("systemd-modules-load.service",),
)
