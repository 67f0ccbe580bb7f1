# SPDX-License-Identifier: LGPL-2.1-or-later
"""Setting the pmem carrier up, and taking it away: `liveupdatectl carrier`, as root.

Two files say that it is set up, and taking them away is all that there is to undo: a drop-in with
the word that sets memory aside at each jump, and a unit that mounts the file system there.  A
pmem device that is always there needs the second one only.
"""

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from liveupdated import paths, systemd
from liveupdated.carriers import pmem, region
from liveupdated.errors import Busy, InvalidArgument, LiveUpdateError, NotFound
from liveupdated.session import Store, write_durably

LABEL = "liveupdated"
"""Of a file system of ours (16 bytes at most, e2label(8))."""
SECTOR = 512
LIMIT_S = 300.0
_NAME = re.compile(r"pmem\d+(\.\d+)?")  # not a partition, nor one with sectors, which has no DAX
_HEAD = (
    "# Written by `liveupdatectl carrier set-up`; `liveupdatectl carrier remove` takes it away.\n"
)


@dataclass(frozen=True)
class Device:
    """A pmem device."""

    path: str
    bytes: int
    start: int
    """Its place in memory, where that is known; else 0."""
    holds: str
    """What is on it, in words; empty for nothing."""


def devices() -> list[Device]:
    """What there is.  Raises LiveUpdateError when it cannot be looked at."""
    return [
        Device(
            path=f"/dev/{folder.name}",
            bytes=int((folder / "size").read_text()) * SECTOR,
            start=_start(folder),
            holds=_holds(f"/dev/{folder.name}"),
        )
        for folder in sorted(pmem.BLOCK_DEVICES.glob("pmem*"))
        if _NAME.fullmatch(folder.name)
    ]


def _start(folder: Path) -> int:
    """From its namespace (the kernel's driver-api/nvdimm/nvdimm.rst); virtio-pmem has none."""
    try:
        return int((folder / "device/resource").read_text(), 16)
    except (OSError, ValueError):
        return 0


def _holds(device: str) -> str:
    """By what blkid(8) finds: it ends with 2 where there is nothing."""
    done = _run("blkid", "--probe", "--output", "export", device, good=(0, 2))
    tags = dict(line.split("=", 1) for line in done.splitlines() if "=" in line)
    if tags.get("LABEL") == LABEL and tags.get("TYPE") == pmem.TYPE:
        return LABEL
    return tags.get("TYPE") or tags.get("PTTYPE") or ("something" if done.strip() else "")


def words() -> tuple[str, ...]:
    """What the drop-in adds to the command line of each jump.  Raises InvalidArgument when
    somebody else changed it."""
    try:
        text = paths.CARRIER_WORDS.read_text()
        found = tuple(tomllib.loads(text)["kernels"]["cmdline_add"])
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _foreign() from error
    if _drop_in(found) != text:
        raise _foreign()
    return found


def _drop_in(added: Sequence[str]) -> str:
    return f"{_HEAD}[kernels]\ncmdline_add = {json.dumps(list(added))}\n"


def _foreign() -> InvalidArgument:
    return InvalidArgument(
        f"{paths.CARRIER_WORDS} is not as `liveupdatectl carrier set-up` wrote it",
        "somebody changed it",
        "move those changes into a file of your own, and remove it",
    )


def set_up(what: str) -> None:
    """Set memory of this size aside from the next jump on, or take a device that is always there;
    and put the file system on what is there already.

    Raises InvalidArgument, NotFound, NoSpace, Busy; then nothing was changed.
    """
    _refuse_if_open()
    if not shutil.which("mke2fs"):
        raise NotFound("mke2fs is not installed", "", "install e2fsprogs")
    if what.startswith("/dev/"):
        return _furnish(_named(what), "")
    word = _word(region.size(what))
    there = word in Path("/proc/cmdline").read_text().split()
    device = _of(word) if there else None
    if device:
        _furnish(device, word)
    if word not in words():
        paths.CARRIER_WORDS.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_durably(paths.CARRIER_WORDS, _drop_in([word]).encode(), mode=0o644)


def _word(count: int) -> str:
    """The one that was chosen before, or that this kernel has, or a new one."""
    before = words()
    if before and not region.of_size(before, count):
        raise Busy(
            f"another region is set up: {before[0]}", "", "`liveupdatectl carrier remove` first"
        )
    now = pmem.protected(Path("/proc/cmdline").read_text())
    return region.of_size([*before, *now], count) or region.word(
        count, region.place(count, region.IOMEM.read_text())
    )


def _of(word: str) -> Device:
    """The device of the region.  Raises NotFound."""
    start, count = region.spans(word)
    for device in devices():
        if (device.start, device.bytes) == (start, count):
            return device
    raise NotFound(
        f"{word} is on the command line, and there is no pmem device of it",
        "the region is not RAM of this machine, or the kernel has no driver for it",
        "see CONFIG_X86_PMEM_LEGACY of the kernel",
    )


def _named(path: str) -> Device:
    for device in devices():
        if device.path == path:
            return device
    raise NotFound(
        f"{path} is no pmem device", "", "`liveupdatectl carrier` lists those that there are"
    )


def _furnish(device: Device, word: str) -> None:
    """File system and mount.  What is mounted already is left as it is."""
    mounted, _ = pmem.mounted()
    if mounted == device.path:
        return
    if mounted:
        raise Busy(f"{mounted} is mounted at {paths.PMEM}", "", "unmount it first")
    if device.holds not in ("", LABEL):
        raise InvalidArgument(
            f"{device.path} holds {device.holds}",
            "nothing is formatted that may be of use",
            f"`wipefs --all {device.path}` would make it empty",
        )
    # What is ours on memory that was set aside, and not mounted, may be of another kernel since.
    if word or not device.holds:
        _run(
            "mke2fs", "-q", "-F", "-t", pmem.TYPE, "-b", "4096", "-m", "0", "-L", LABEL, device.path
        )
    write_durably(paths.PMEM_UNIT_FILE, _unit(device, word).encode(), mode=0o644)
    systemd.reload()
    if not word:
        systemd.systemctl("enable", paths.PMEM_UNIT)
    systemd.start(paths.PMEM_UNIT)
    paths.PMEM.chmod(0o700)


def _unit(device: Device, word: str) -> str:
    """Memory that a boot through firmware uses for itself is mounted after a jump only, by the
    restore worker."""
    install = "" if word else "[Install]\nWantedBy=multi-user.target\n"
    key = f"{pmem.WORD_KEY}{word}\n" if word else ""
    return f"""\
{_HEAD}[Unit]
Description=Memory That Both Kernels of a Live Update Leave Alone
Documentation=man:liveupdatectl(1)
{key}[Mount]
What={device.path}
Where={paths.PMEM}
Type={pmem.TYPE}
Options={pmem.OPTIONS}
DirectoryMode=0700
{install}"""


def remove() -> None:
    """Unmount it and take both files away.  The memory is the kernel's again after the next jump
    or boot.  Raises NotFound, Busy, ServiceError; then nothing was changed."""
    _refuse_if_open()
    if not words() and not paths.PMEM_UNIT_FILE.exists():
        raise NotFound(
            "no pmem carrier is set up", "", "`liveupdatectl carrier set-up` would do it"
        )
    if paths.PMEM_UNIT_FILE.exists():
        systemd.stop(paths.PMEM_UNIT)
        systemd.systemctl("disable", paths.PMEM_UNIT)
        paths.PMEM_UNIT_FILE.unlink()
        systemd.reload()
    paths.CARRIER_WORDS.unlink(missing_ok=True)


def _refuse_if_open() -> None:
    session = Store().current()
    if session is not None:
        raise Busy(f"session {session.id} is {session.state}", "", "wait for its end")


def _run(*command: str, good: Sequence[int] = (0,)) -> str:
    """What it printed.  Raises LiveUpdateError with its own words."""
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LIMIT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LiveUpdateError(f"{command[0]} could not be run", str(error)) from error
    if done.returncode not in good:
        raise LiveUpdateError(f"{' '.join(command)} failed", done.stderr.strip())
    return done.stdout
