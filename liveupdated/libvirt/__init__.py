# SPDX-License-Identifier: LGPL-2.1-or-later
"""libvirt on this host (qemu:///system), by its own client virsh(1).

Not by libvirt's Python module: the restore path may import the standard library only, and a call of
that module has no limit of its own, where a process can be ended.

Standard library only: the restore worker reads this on the blackout's clock.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from liveupdated.errors import ServiceError

URI = "qemu:///system"
STATUS = Path("/run/libvirt/qemu")
"""Where the daemon keeps what it knows of each domain that runs, NAME.pid among it (virpidfile.c
and qemu_process.c of libvirt)."""
SAVED = Path("/var/lib/libvirt/qemu/save")
"""Of managed saves (virsh(1), managedsave; qemu.conf cannot change it)."""
DAEMONS = ("virtqemud", "libvirtd")
"""Of the modular and of the monolithic libvirt (libvirtd(8)); a host runs one of them."""
ANSWER_LIMIT_S = 300.0
TRANSFER_LIMIT_S = 1800.0
"""To write a guest's memory, or to read it."""
SETTLE_LIMIT_S = 300.0
"""For a start that somebody else has begun."""
POLL_S = 0.2


def running() -> Iterator[tuple[str, int]]:
    """Name and QEMU process of each domain that runs, without asking libvirt."""
    for file in sorted(STATUS.glob("*.pid")):
        try:
            pid = int(file.read_text())
            program = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
        except (OSError, ValueError):
            continue
        if program.startswith("qemu"):  # the daemon's own driver.pid is there too
            yield file.stem, pid


def virsh(*words: str, limit_s: float = ANSWER_LIMIT_S) -> str:
    """Run virsh and return what it printed.  Raises ServiceError with libvirt's own words."""
    command = ["virsh", "--connect", URI, "--quiet", *words]
    what = f"virsh {words[0]}"
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=limit_s,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
        )
    except FileNotFoundError as error:
        raise ServiceError("virsh is not there", "", "install libvirt's clients") from error
    except subprocess.TimeoutExpired as error:
        raise ServiceError(f"{what} did not finish", f"no answer in {limit_s:.0f} s") from error
    if done.returncode != 0:
        said = " ".join(done.stderr.replace("error: ", "").split())
        raise ServiceError(f"{what} failed", said or f"it ended with {done.returncode}")
    return done.stdout.strip()


def state(uuid: str) -> tuple[str, str]:
    """State and reason in virsh's words, `running` and `booted`; `` when there is no such domain.

    Raises ServiceError when libvirt does not answer.
    """
    if uuid not in virsh("list", "--all", "--uuid").split():
        return "", ""
    said, _, reason = virsh("domstate", uuid, "--reason").partition(" (")
    return said, reason.rstrip(")")


def settled(uuid: str, *, running: bool) -> tuple[str, str]:
    """The same, once a start of it that somebody else has begun is over.

    A domain that is to run is `paused` meanwhile; of one that is to be paused, nothing but the
    first moments can be told.
    """
    end = time.monotonic() + SETTLE_LIMIT_S
    while True:
        said, reason = state(uuid)
        waits = said == "paused" and (running or reason == "starting up")
        if not waits or time.monotonic() > end:
            return said, reason
        time.sleep(POLL_S)


def info(command: str, name: str) -> dict[str, str]:
    """What `virsh dominfo`, `net-info` or `pool-info` prints: key to value."""
    lines = virsh(command, name).splitlines()
    pairs = (line.partition(":") for line in lines)
    return {key.strip(): value.strip() for key, _, value in pairs}
