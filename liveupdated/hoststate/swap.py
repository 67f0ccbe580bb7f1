# SPDX-License-Identifier: LGPL-2.1-or-later
"""Swap areas that no unit and no line of fstab turns on."""

from pathlib import Path

from liveupdated import systemd
from liveupdated.hoststate.category import Category, Snapshot, run

OF_MEMORY = "/dev/zram"


def snapshot() -> Snapshot:
    """By file or device, to its priority."""
    owned = {
        unit.get("What", "")
        for unit in systemd.show(["*.swap"], ["What", "FragmentPath"]).values()
        if unit.get("FragmentPath")
    }
    found = {}
    for line in Path("/proc/swaps").read_text().splitlines()[1:]:
        place, _, _, _, priority = line.replace("\\040(deleted)", "(deleted)").split()
        if place not in owned:
            found[_unescaped(place)] = priority
    return found


def _unescaped(place: str) -> str:
    """The kernel writes blanks as octal numbers (seq_path() of its seq_file.c)."""
    return place.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")


def obstacle(key: str, value: str) -> str:
    if key.endswith("(deleted)"):
        return "its file was removed"
    if key.startswith(OF_MEMORY):
        return "it is in memory (zram)"
    return ""


def put(key: str, value: str) -> None:
    """A priority below 0 is one that the kernel has chosen (swapon(8))."""
    priority = [] if value.startswith("-") else [f"--priority={value}"]
    if not any(line.split()[0] == key for line in Path("/proc/swaps").read_text().splitlines()):
        run(["swapon", *priority, "--", key])


def same(saved: str, now: str) -> bool:
    return saved == now or (saved.startswith("-") and now.startswith("-"))


CATEGORY = Category(
    name="swap",
    title="swap areas",
    snapshot=snapshot,
    put=put,
    same=same,
    obstacle=obstacle,
    needs=("mount",),
    after=("swap.target",),
    early=lambda key, value: False,
)
