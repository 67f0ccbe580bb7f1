# SPDX-License-Identifier: LGPL-2.1-or-later
"""The pmem carrier: a region of memory that neither kernel touches, with a file system on it.

The region is a /dev/pmem device: memory set aside by `memmap=SIZE!START` (kernel-parameters.txt),
virtio-pmem, or an NVDIMM.  The file system is mounted with DAX (the kernel's
filesystems/dax.rst), so that what is written there is in the region and nowhere else.

Standard library only: used on the restore path.
"""

import os
from pathlib import Path

from liveupdated import paths
from liveupdated.carriers import Carrier, free_bytes

MOUNTS = Path("/proc/self/mountinfo")
DEVICE = "/dev/pmem"
WORD_KEY = "X-CommandLine="
"""In the mount unit: the word without which its region is not there (X-: systemd.unit(5))."""
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
    words = [line.removeprefix(WORD_KEY) for line in unit.splitlines() if line.startswith(WORD_KEY)]
    return all(word in line.split() for word in words for line in (before, after))


def protected(cmdline: str) -> tuple[str, ...]:
    """The words of a command line that set memory aside as a pmem device."""
    return tuple(word for word in cmdline.split() if word.startswith("memmap=") and "!" in word)
