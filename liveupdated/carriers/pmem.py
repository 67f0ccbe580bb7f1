# SPDX-License-Identifier: LGPL-2.1-or-later
"""The pmem carrier: a region of memory that neither kernel touches, with a file system on it.

The region is a /dev/pmem device: memory set aside by `memmap=SIZE!START` (kernel-parameters.txt),
virtio-pmem, or an NVDIMM.  The file system is mounted with DAX (the kernel's
filesystems/dax.rst), so that what is written there is in the region and nowhere else.

Standard library only: used on the restore path.
"""

import os
import subprocess
import time
from pathlib import Path

from liveupdated import paths, systemd
from liveupdated.carriers import Carrier, free_bytes
from liveupdated.errors import ServiceError

BLOCK_DEVICES = Path("/sys/class/block")
MOUNTS = Path("/proc/self/mountinfo")
DEVICE = "/dev/pmem"
WORD_KEY = "X-CommandLine="
"""In the mount unit: the word without which its region is not there (X-: systemd.unit(5))."""
TYPE = "ext4"
OPTIONS = "dax=always,noatime,nodev,nosuid,noexec"
DEVICE_LIMIT_S = 30.0
LIMIT_S = 60.0
_WHAT_KEY = "What="
_DAX = {"dax", "dax=always"}


def probe() -> Carrier:
    """The region as it is mounted, or why it cannot be used."""
    device, options = mounted()
    if not device:
        return _none(f"nothing is mounted at {paths.PMEM}")
    if not device.startswith(DEVICE):
        return _none(f"{device} is mounted at {paths.PMEM}, which is no pmem device")
    if not _DAX & set(options):
        return _none(f"{device} is mounted without dax=always")
    status = os.stat(paths.PMEM)
    if status.st_uid != 0 or status.st_mode & 0o077:
        return _none(f"{paths.PMEM} is not root's alone")
    return Carrier(
        "pmem",
        paths.PMEM,
        free_bytes(paths.PMEM),
        f"{device} is memory that both kernels leave alone, and quicker than the disk",
        words=protected(Path("/proc/cmdline").read_text()),
    )


def _none(obstacle: str) -> Carrier:
    return Carrier("pmem", paths.PMEM, 0, "", obstacle)


def mounted() -> tuple[str, list[str]]:
    """What is mounted at paths.PMEM, and the file system's options (proc_pid_mountinfo(5)); empty
    when nothing is."""
    found: tuple[str, list[str]] = ("", [])
    for line in MOUNTS.read_text(errors="surrogateescape").splitlines():
        mount, _, filesystem = line.partition(" - ")
        if mount.split()[4] == str(paths.PMEM):  # the last one covers the others
            _, device, options = filesystem.split(" ", 2)
            found = device, options.split(",")
    return found


def kept(before: str, after: str) -> bool:
    """Whether the region of the mount unit is what it was: kernels with the command lines `before`
    and `after` have both left it alone.  False where there is no mount unit."""
    try:
        unit = paths.PMEM_UNIT_FILE.read_text()
    except FileNotFoundError:
        return False
    words = _values(unit, WORD_KEY)
    return all(word in line.split() for word in words for line in (before, after))


def _values(unit: str, key: str) -> list[str]:
    return [line.removeprefix(key) for line in unit.splitlines() if line.startswith(key)]


def mount() -> None:
    """Mount what the unit mounts, and sooner: that one would wait until udev tells systemd of the
    device, among all others.  systemd takes what is mounted for the unit's.

    Raises ServiceError.
    """
    if mounted()[0]:
        return
    try:
        [device] = _values(paths.PMEM_UNIT_FILE.read_text(), _WHAT_KEY)
    except FileNotFoundError:
        return systemd.start(paths.PMEM_UNIT)  # somebody's own, of fstab(5)
    end = time.monotonic() + DEVICE_LIMIT_S
    while not os.path.exists(device):
        if time.monotonic() > end:
            raise ServiceError(f"there is no {device}", "the kernel has found no such region")
        time.sleep(0.01)
    command = ["mount", f"--types={TYPE}", f"--options={OPTIONS}", "--", device, str(paths.PMEM)]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LIMIT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServiceError(f"{device} could not be mounted", str(error)) from error
    if done.returncode:
        raise ServiceError(f"{device} could not be mounted", done.stderr.strip())


def modules() -> list[str]:
    """The modules that make the device which is mounted: those of its own driver, and of all that
    it is a part of."""
    device, _ = mounted()
    if not device:
        return []
    here = (BLOCK_DEVICES / os.path.basename(device)).resolve()
    links = [folder / "driver/module" for folder in reversed((here, *here.parents))]
    return [link.resolve().name for link in links if link.exists()]


def protected(cmdline: str) -> tuple[str, ...]:
    """The words of a command line that set memory aside as a pmem device."""
    return tuple(word for word in cmdline.split() if word.startswith("memmap=") and "!" in word)
