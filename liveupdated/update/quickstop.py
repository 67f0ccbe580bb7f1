# SPDX-License-Identifier: LGPL-2.1-or-later
"""The quick stop: kexec.target without the shutdown that comes before it.

systemd-kexec.service, which does the kexec, pulls in shutdown.target, which stops unit after unit.
In a quick update it is another unit of that name, which does not.  It stops what ends by more than
a SIGTERM, as databases and container managers do, and what has more time for it than is usual, and
then has systemd hand over to systemd-shutdown(8).  That sends all processes that are left SIGTERM
together, then SIGKILL, writes out and unmounts the file systems, and jumps.  How long it waits
before SIGKILL is DefaultTimeoutStopSec= of systemd-system.conf(5).
"""

import signal
from collections.abc import Container
from dataclasses import dataclass

from liveupdated import bootset, systemd, timers

QUICK = "quick"
ORDERLY = "orderly"
"""As any shutdown: each unit by its stop commands, in order, with its own time."""

STOP_LIMIT_S = 10
"""For all services together that are stopped in order."""
SLOW_STOP_LIMIT_S = 90
"""The same, for those that may take longer than systemd's default, which is this, by their own
TimeoutStopSec=."""
KILL_LIMIT_S = 5
"""For all processes together, from SIGTERM to SIGKILL."""

MANAGER_FILE = "systemd/system.conf.d/90-liveupdated-stop.conf"
KEXEC_FILE = f"{systemd.RUNTIME_UNITS}/systemd-kexec.service"
FILES = (MANAGER_FILE, KEXEC_FILE)
"""What is below /run until the jump or its being called off."""
SIGTERM = str(int(signal.SIGTERM))
"""As systemctl prints KillSignal=."""

MANAGER = f"""\
# Written by liveupdated: the jump that is next does not wait for long.
[Manager]
DefaultTimeoutStopSec={KILL_LIMIT_S}s
"""
KEXEC = """\
# Written by liveupdated: the jump that is next does not stop units one by one.
[Unit]
Description=Reboot via kexec, Quickly
Documentation=man:liveupdated(8)
DefaultDependencies=no

[Service]
Type=oneshot
TimeoutStartSec=infinity
"""
STOP = "ExecStart=-timeout {limit_s} systemctl stop -- {units}\n"
# liveupdated-stopped.service was before these; afterwards nothing can be written any more.
NOTE = "ExecStart=-touch /var/lib/liveupdated/current/stopped\n"
LEAVE = "ExecStart=systemctl --force kexec\n"


@dataclass(frozen=True)
class InOrder:
    """Services that are stopped by systemd, before all else is killed."""

    usual: tuple[str, ...] = ()
    slow: tuple[str, ...] = ()


def files(stopped: InOrder) -> dict[str, str]:
    """FILES, each with its text, for a jump before which these are stopped."""
    lines = [
        # In a command line a backslash is an escape (systemd.service(5)), in a unit's name none.
        STOP.format(limit_s=limit_s, units=" ".join(units).replace("\\", r"\\"))
        for limit_s, units in (
            (SLOW_STOP_LIMIT_S, stopped.slow),
            (STOP_LIMIT_S, stopped.usual),
        )
        if units
    ]
    text = "".join([KEXEC, *lines, NOTE if lines else "", LEAVE])
    return {MANAGER_FILE: MANAGER, KEXEC_FILE: text}


def to_stop(carried: Container[str]) -> InOrder:
    """Running services that end by more than a usual SIGTERM, but for those `carried` and the
    system's own."""
    found = systemd.show(["*.service"], ("SubState", "ExecStop", "KillSignal", "TimeoutStopUSec"))
    usual, slow = [], []
    for name, unit in sorted(found.items()):
        if name in carried or bootset.plumbing(name):
            continue
        state, commands = unit.get("SubState"), unit.get("ExecStop")
        # What only has run (RemainAfterExit=) and has slow stop commands does work of weight in
        # them: libvirt-guests.service shuts guests down.
        if _slow(unit) and (state == "running" or (state == "exited" and commands)):
            slow.append(name)
        elif state == "running" and (commands or unit.get("KillSignal") != SIGTERM):
            usual.append(name)
    return InOrder(tuple(usual), tuple(slow))


def _slow(unit: systemd.Properties) -> bool:
    limit = unit.get("TimeoutStopUSec", "")
    return limit == "infinity" or timers.span_us(limit) > SLOW_STOP_LIMIT_S * 1_000_000
