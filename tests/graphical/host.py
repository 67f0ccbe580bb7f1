# SPDX-License-Identifier: LGPL-2.1-or-later
"""A container as a host on which a kernel can wait: what only a kernel of its own has is made up.

That is the kernel's word that something is loaded, and the worker that loads.  Daemon, bus, logind
and polkit are real.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from liveupdated.session import Session, Store
from tests.lab.container import Container
from tests.unit.kernels.fabricate import bzimage

KERNEL = "7.3.4+deb13-amd64"
STAGED = f"""\
{{"kernel": "{KERNEL}", "release": "{KERNEL}", "image": "/boot/vmlinuz-{KERNEL}",
"image_sha256": "", "initrds": [], "cmdline": "", "token": "x", "method": "made up"}}
"""
STAGE = f"cat > /run/liveupdated/staged.json <<X\n{STAGED}X\necho 1 > /sys/kernel/kexec/loaded\n"
UNSTAGE = "rm -f /run/liveupdated/staged.json\necho 0 > /sys/kernel/kexec/loaded\n"
WORKER = """\
[Service]
ExecStart=
ExecStart=/bin/sh /opt/{step}
ProtectKernelTunables=no
"""


def prepare(box: Container) -> None:
    """A newer kernel is installed, and can be staged."""
    box.put(bzimage(KERNEL), f"/boot/vmlinuz-{KERNEL}")
    box.put(bytes(4096), f"/boot/initrd.img-{KERNEL}")
    box.run("mount -t tmpfs tmpfs /sys/kernel; mkdir /sys/kernel/kexec")
    box.run("echo 0 > /sys/kernel/kexec/loaded")
    for step, script in (("stage", STAGE), ("unstage", UNSTAGE)):
        box.put(script.encode(), f"/opt/{step}")
        unit = f"/etc/systemd/system/liveupdated-{step}.service.d/made-up.conf"
        box.put(WORKER.format(step=step).encode(), unit)
    box.run("systemctl daemon-reload; systemctl restart liveupdated")


def leave(box: Container, session: Session) -> None:
    """That session is the last one, as a daemon finds it that has just started."""
    with TemporaryDirectory() as folder:
        store = Store(Path(folder))
        store.store(session)
        # The window may ask for it while it stops.
        box.run("until systemctl stop liveupdated; do sleep 0.2; done")
        for file in store.folder(session.id).iterdir():
            box.put(file, f"/var/lib/liveupdated/sessions/{session.id}/{file.name}", 0o600)
    box.run("systemctl start liveupdated")
