# SPDX-License-Identifier: LGPL-2.1-or-later
"""An initrd lean for this host, beside the full one: with the drivers of the devices that are
there now.

A jump cannot find other devices than those, a boot after a move of the disk can: so it is for jumps
only, the boot loader's stays as it is, and it is made anew in each boot of the host.  It is made by
the tool that made the full one: initramfs.conf(5) (`MODULES=dep`), dracut(8) (`--hostonly`) or
mkinitcpio(8) (its hook `autodetect`).
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from liveupdated import paths
from liveupdated.errors import LiveUpdateError

LIMIT_S = 840.0
"""Less than the limit of the unit that it is made in."""


@dataclass(frozen=True)
class Tool:
    """One that makes initrds."""

    name: str
    there: Callable[[Path], bool]
    """Whether it is what a root folder's initrds are made with."""
    already: Callable[[Path], bool]
    """Whether those are lean by its settings."""
    command: Callable[[str, Path, Path], list[str]]
    """That makes a lean one for a release, at a path; with a scratch folder."""


def tool(root: Path) -> Tool | None:
    """The one in use below `root`; None where nobody knows it."""
    return next((each for each in TOOLS if each.there(root)), None)


def ready(release: str, full: Path) -> Path | None:
    """The lean one, if it was made from what the full one was; else None."""
    made = _path(release)
    try:
        return made if made.stat().st_mtime_ns == full.stat().st_mtime_ns else None
    except OSError:
        return None


def build(release: str, full: Path) -> None:
    """Make it.  Raises LiveUpdateError; then there is none."""
    found = tool(paths.ROOT)
    if found is None:
        raise LiveUpdateError(
            "no lean initrd can be made",
            "none of initramfs-tools, dracut and mkinitcpio is installed",
            "the full one serves; `lean_initrd = false` in liveupdated.toml(5) asks for no other",
        )
    made = _path(release)
    made.unlink(missing_ok=True)
    made.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    stamp = full.stat().st_mtime_ns
    with TemporaryDirectory(dir=made.parent) as scratch:
        part = Path(scratch) / "initrd"
        _run(found.command(release, part, Path(scratch)))
        os.utime(part, ns=(stamp, stamp))
        part.replace(made)


def _path(release: str) -> Path:
    return paths.LEAN_INITRDS / f"{release}.img"


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LIMIT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LiveUpdateError(f"{command[0]} made no initrd", str(error)) from error
    if done.returncode:
        raise LiveUpdateError(
            f"{command[0]} made no initrd", (done.stderr.strip() or done.stdout.strip())[-500:]
        )


# --- the tools ---


def _mkinitramfs(release: str, made: Path, scratch: Path) -> list[str]:
    """With the host's own settings, and one more, which is read last."""
    settings = scratch / "initramfs-tools"
    shutil.copytree(paths.ROOT / "etc/initramfs-tools", settings, symlinks=True)
    (settings / "conf.d").mkdir(exist_ok=True)
    (settings / "conf.d/zzzz-liveupdated").write_text("MODULES=dep\n")
    return ["mkinitramfs", "-d", str(settings), "-o", str(made), release]


def _initramfs_is_lean(root: Path) -> bool:
    """By MODULES= as mkinitramfs sees it: conf.d is read after initramfs.conf."""
    conf = root / "etc/initramfs-tools"
    found = ""
    for file in [conf / "initramfs.conf", *sorted((conf / "conf.d").glob("*"))]:
        try:
            text = file.read_text(errors="replace")
        except OSError:
            continue
        for value in re.findall(r"^\s*MODULES=[\"']?(\w+)", text, re.MULTILINE):
            found = value
    return found == "dep"


TOOLS = (
    Tool(
        "initramfs-tools",
        lambda root: (root / "etc/initramfs-tools/initramfs.conf").exists(),
        _initramfs_is_lean,
        _mkinitramfs,
    ),
    Tool(
        "dracut",
        lambda root: any((root / name).exists() for name in ("usr/bin/dracut", "sbin/dracut")),
        lambda root: False,
        lambda release, made, scratch: [
            *("dracut", "--hostonly", "--force", "--kver", release, str(made))
        ],
    ),
    Tool(
        "mkinitcpio",
        lambda root: (root / "etc/mkinitcpio.conf").exists(),
        lambda root: False,
        lambda release, made, scratch: [
            *("mkinitcpio", "--kernel", release, "--generate", str(made))
        ],
    ),
)
