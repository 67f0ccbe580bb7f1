# SPDX-License-Identifier: LGPL-2.1-or-later
"""Starts of domains in a boot in which libvirt, systemd and others are busy too.

Standard library only: the restore worker reads this on the blackout's clock.
"""

import time

from liveupdated import libvirt
from liveupdated.errors import ServiceError

STARTS, PAUSE_S = 4, 5.0
"""How often libvirt is asked, and the pause in between."""
AGAIN_S = 120.0
"""What fails after a longer time than this is not tried again."""
AGENT_LIMIT_S = 10.0


def until_there(
    uuid: str, *command: str, running: bool, limit_s: float = libvirt.ANSWER_LIMIT_S
) -> None:
    """Start it by that command of virsh's; it is there all the same when libvirt's autostart came
    in between.

    In a busy boot a start can fail that works a moment later: systemd's answer about the guest's
    scope comes after the 25 s that libvirt waits, or libvirt takes the mount of all cgroups that
    CRIU has beside a container (`.criu.cgyard`, cgroup.c of CRIU) for the host's (virCgroupDetect
    of its vircgroup.c reads /proc/mounts).  Raises ServiceError.
    """
    end = time.monotonic() + AGAIN_S
    for left in reversed(range(STARTS)):
        try:
            libvirt.virsh(*command, limit_s=limit_s)
        except ServiceError:
            if is_there(uuid, running=running):
                return
            if not left or time.monotonic() > end:
                raise
            time.sleep(PAUSE_S)
        else:
            return


def is_there(uuid: str, *, running: bool) -> bool:
    """Whether it was started, once a start that somebody else has begun is over."""
    return libvirt.settled(uuid, running=running)[0] in ("running", "paused")


def set_clock(uuid: str) -> str:
    """Have the guest's agent set its clock; returns what went wrong."""
    end = time.monotonic() + AGENT_LIMIT_S
    while True:
        try:
            libvirt.virsh("domtime", uuid, "--now", limit_s=AGENT_LIMIT_S)
        except ServiceError as error:
            if time.monotonic() > end:
                return f"the guest's clock may be late: {error}"
            time.sleep(libvirt.POLL_S)
        else:
            return ""
