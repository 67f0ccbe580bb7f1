# SPDX-License-Identifier: LGPL-2.1-or-later
"""When what is in the page cache is written to its disk.

A shutdown writes out all file systems (sync(2) in systemd-shutdown(8)), on the blackout's clock.
So what is dirty of all that runs goes before the freeze.  What the save itself writes is synced
once after it, by syncfs(2): an fsync(2) of each file has the journal committed, and the disk's
cache flushed, twenty times a service.
"""

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from liveupdated.errors import SaveFailed

if TYPE_CHECKING:
    from liveupdated.hoststate.mounts import Mount


def ahead() -> None:
    """Write out what is dirty on local disks, while all run on.

    Nothing depends on it, so nothing is raised.  A sync that has begun cannot be ended: a disk that
    takes longer than the save's unit may (TimeoutStartSec=) fails the save, with nothing frozen.
    """
    from liveupdated.hoststate.mounts import MOUNTINFO, parse  # noqa: PLC0415 - not in the daemon

    if places := on_local_disks(parse(MOUNTINFO.read_text())):
        command = ["sync", "--file-system", "--", *places]
        subprocess.run(command, check=False, capture_output=True)


def on_local_disks(mounts: "Iterable[Mount]") -> list[str]:
    """A place of each file system that is on a local disk.

    Whoever serves one over the network, or as FUSE, may be gone, and nothing ends a sync of that.
    """
    places = {
        mount.device: mount.place
        for mount in mounts
        if mount.source.startswith("/dev/") and not mount.type.startswith("fuse")
    }
    return list(places.values())


def durable(folder: Path) -> None:
    """Write out the file system of `folder`.

    Raises SaveFailed when something of it could not be written (syncfs(2) tells since Linux 5.8).
    """
    command = ["sync", "--file-system", "--", str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise SaveFailed("what was saved could not be written out", done.stderr.strip())
