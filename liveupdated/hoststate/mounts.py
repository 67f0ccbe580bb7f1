# SPDX-License-Identifier: LGPL-2.1-or-later
"""Mounts that no unit and no line of fstab makes.

The content of a tmpfs goes along: it has no other place.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from liveupdated import systemd
from liveupdated.errors import ServiceError
from liveupdated.hoststate import managers
from liveupdated.hoststate.category import Category, Snapshot, run

MOUNTINFO = Path("/proc/1/mountinfo")
"""As PID 1 sees it, whatever sandbox we are in."""
# The kernel's own, which systemd mounts where it wants them.
OF_THE_SYSTEM = frozenset(
    "proc sysfs devtmpfs devpts cgroup cgroup2 securityfs pstore bpf tracefs debugfs configfs "
    "fusectl mqueue hugetlbfs autofs binfmt_misc efivarfs rpc_pipefs selinuxfs".split()
)
IN_MEMORY = ("tmpfs", "ramfs")
# Flags that mount(8) takes back are kept; the kernel prints this one only for information.
NOT_OPTIONS = ("seclabel",)


@dataclass(frozen=True)
class Mount:
    """One line of mountinfo (proc_pid_mountinfo(5))."""

    device: str
    root: str
    place: str
    options: str
    type: str
    source: str
    super_options: str


def parse(text: str) -> list[Mount]:
    """All mounts; of several on one place the uppermost."""
    found: dict[str, Mount] = {}
    for line in text.splitlines():
        front, _, back = line.partition(" - ")
        _, _, device, root, place, options = map(_unescaped, front.split(" ")[:6])
        kind, source, super_options = map(_unescaped, back.split(" ", 2))
        found[place] = Mount(device, root, place, options, kind, source, super_options)
    return list(found.values())


def _unescaped(word: str) -> str:
    for code, char in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        word = word.replace(code, char)
    return word


def snapshot() -> Snapshot:
    """By place; the setting is JSON: type, source and options, as mount(8) takes them."""
    owned = {
        unit.get("Where", "")
        for unit in systemd.show(["*.mount"], ["Where", "FragmentPath"]).values()
        if unit.get("FragmentPath")
    }
    mounts = parse(MOUNTINFO.read_text())
    return {
        mount.place: json.dumps(described(mount, mounts), sort_keys=True)
        for mount in mounts
        if mount.place != "/"
        and mount.place not in owned
        and mount.type not in OF_THE_SYSTEM
        and not managers.owns_mount(mount.place)
    }


def described(mount: Mount, mounts: list[Mount]) -> dict[str, str]:
    options = mount.options.split(",")
    if (origin := _origin(mount, mounts)) != "":
        return {"type": "bind", "source": origin, "options": ",".join(options)}
    options += [
        option
        for option in mount.super_options.split(",")
        if option not in options and option not in ("ro", "rw", *NOT_OPTIONS)
    ]
    source = mount.source
    if source.startswith("/dev/loop"):
        backing = Path(f"/sys/block/{os.path.basename(source)}/loop/backing_file")
        if backing.exists():
            source = f"loop:{backing.read_text().strip()}"
    return {"type": mount.type, "source": source, "options": ",".join(options)}


def _origin(mount: Mount, mounts: list[Mount]) -> str:
    """The folder that a bind mount shows: where the same file system is mounted otherwise."""
    for other in mounts:
        if other.device != mount.device or other.place == mount.place:
            continue
        if other.root == "/" and (mount.root != "/" or _earlier(other, mount, mounts)):
            return os.path.normpath(f"{other.place}/{mount.root}")
    return ""


def _earlier(one: Mount, other: Mount, mounts: list[Mount]) -> bool:
    return mounts.index(one) < mounts.index(other)


def obstacle(key: str, value: str) -> str:
    setting = json.loads(value)
    if setting["type"].startswith("fuse") and setting["type"] != "fuseblk":
        return f"a process serves it ({setting['type']})"
    if setting["type"] == "nsfs":
        return "it keeps a namespace, which goes with the kernel"
    if setting["source"].endswith(("//deleted", "(deleted)")):
        return "what it shows was removed"
    return ""


def content(key: str, value: str) -> str:
    return key if json.loads(value)["type"] in IN_MEMORY else ""


def put(key: str, value: str) -> None:
    setting = json.loads(value)
    if any(mount.place == key for mount in parse(MOUNTINFO.read_text())):
        run(["mount", "-o", f"remount,{setting['options']}", "--", key])
        return
    source = setting["source"]
    if setting["type"] == "bind":
        if not os.path.exists(source):
            raise ServiceError(f"{source}, which {key} is to show, is not there")
        _make_place(key, os.path.isdir(source))
        run(["mount", "--bind", "--", source, key])
        run(["mount", "-o", f"remount,bind,{setting['options']}", "--", key])
        return
    _make_place(key, True)
    if source.startswith("loop:"):
        found = run(["losetup", "--find", "--show", "--", source.removeprefix("loop:")])
        source = found.strip()
    run(["mount", "-t", setting["type"], "-o", setting["options"], "--", source, key])


def _make_place(place: str, folder: bool) -> None:
    """Below /run a boot forgets the place, too."""
    if folder:
        os.makedirs(place, mode=0o755, exist_ok=True)
    elif not os.path.exists(place):
        os.makedirs(os.path.dirname(place), mode=0o755, exist_ok=True)
        Path(place).touch(mode=0o644)


def same(saved: str, now: str) -> bool:
    """Type and source; another kernel may print other options."""
    wanted, found = json.loads(saved), json.loads(now)
    read_only = ["ro" in setting["options"].split(",") for setting in (wanted, found)]
    return (wanted["type"], wanted["source"]) == (found["type"], found["source"]) and read_only[
        0
    ] == read_only[1]


CATEGORY = Category(
    name="mount",
    title="mounts",
    snapshot=snapshot,
    put=put,
    same=same,
    obstacle=obstacle,
    provides=lambda key, value: [f"path:{key}"],
    after=("local-fs.target",),
    early=lambda key, value: False,
    content=content,
)
