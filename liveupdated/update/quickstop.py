# SPDX-License-Identifier: LGPL-2.1-or-later
"""The quick stop: kexec.target without the shutdown that comes before it.

systemd-kexec.service, which does the kexec, pulls in shutdown.target, which stops unit after unit.
In a quick update it is another unit of that name, which does not.  It stops what ends by more than
a SIGTERM, as databases and container managers do, and then has systemd hand over to
systemd-shutdown(8).  That sends all processes that are left SIGTERM together, then SIGKILL, writes
out and unmounts the file systems, and jumps.  How long it waits before SIGKILL is
DefaultTimeoutStopSec= of systemd-system.conf(5).
"""

import signal
from collections.abc import Container, Iterable

from liveupdated import bootset, systemd

QUICK = "quick"
ORDERLY = "orderly"
"""As any shutdown: each unit by its stop commands, in order, with its own time."""

STOP_LIMIT_S = 10
"""For all services together that are stopped in order."""
KILL_LIMIT_S = 5
"""For all processes together, from SIGTERM to SIGKILL."""

MANAGER_FILE = "systemd/system.conf.d/90-liveupdated-stop.conf"
KEXEC_FILE = f"{systemd.RUNTIME_UNITS}/systemd-kexec.service"
FILES = (MANAGER_FILE, KEXEC_FILE)
"""What is below /run until the jump or its being called off."""

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
# liveupdated-stopped.service was before these; afterwards nothing can be written any more.
STOP = f"""\
ExecStart=-timeout {STOP_LIMIT_S} systemctl stop -- {{units}}
ExecStart=-touch /var/lib/liveupdated/current/stopped
"""
LEAVE = "ExecStart=systemctl --force kexec\n"


def files(in_order: Iterable[str]) -> dict[str, str]:
    """FILES, each with its text, for a jump before which the services `in_order` are stopped."""
    # In a command line a backslash is an escape (systemd.service(5)), in a unit's name it is none.
    units = " ".join(in_order).replace("\\", r"\\")
    stop = STOP.format(units=units) if units else ""
    return {MANAGER_FILE: MANAGER, KEXEC_FILE: KEXEC + stop + LEAVE}


def to_stop(carried: Container[str]) -> list[str]:
    """Running services that end by stop commands or a signal of their own, but for those `carried`
    and the system's own."""
    found = systemd.show(["*.service"], ("SubState", "ExecStop", "KillSignal"))
    return sorted(
        name
        for name, unit in found.items()
        if unit.get("SubState") == "running"
        and (unit.get("ExecStop") or unit.get("KillSignal") != str(int(signal.SIGTERM)))
        and name not in carried
        and not bootset.plumbing(name)
    )
