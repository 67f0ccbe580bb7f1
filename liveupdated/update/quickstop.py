# SPDX-License-Identifier: LGPL-2.1-or-later
"""The quick stop: kexec.target without the shutdown that comes before it.

systemd-kexec.service, which does the kexec, pulls in shutdown.target, which stops unit after unit.
In a quick update it is another unit of that name, which does not: systemd hands over to
systemd-shutdown(8) at once.  That sends all processes SIGTERM together, then SIGKILL, writes out
and unmounts the file systems, and jumps.  How long it waits before SIGKILL is
DefaultTimeoutStopSec= of systemd-system.conf(5).
"""

from liveupdated import systemd

QUICK = "quick"
ORDERLY = "orderly"
"""As any shutdown: each unit by its stop commands, in order, with its own time."""

LIMIT_S = 5
"""For all processes together, from SIGTERM to SIGKILL."""

MANAGER = f"""\
# Written by liveupdated: the jump that is next does not wait for long.
[Manager]
DefaultTimeoutStopSec={LIMIT_S}s
"""
KEXEC = """\
# Written by liveupdated: the jump that is next does not stop units one by one.
[Unit]
Description=Reboot via kexec, Quickly
Documentation=man:liveupdated(8)
DefaultDependencies=no

[Service]
Type=oneshot
ExecStart=systemctl --force kexec
"""


def files() -> dict[str, str]:
    """What to put below /run, until the jump or its being called off; path to text."""
    return {
        "systemd/system.conf.d/90-liveupdated-stop.conf": MANAGER,
        f"{systemd.RUNTIME_UNITS}/systemd-kexec.service": KEXEC,
    }
