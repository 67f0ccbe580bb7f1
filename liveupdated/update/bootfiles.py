# SPDX-License-Identifier: LGPL-2.1-or-later
"""Unit files and drop-ins for the boot after the jump: written by the save, put in place by the
generator (`packaging/libexec/generator`), which is a shell script for the sake of its start.

Not synced: the shutdown does that, and without the jump nobody reads them.
"""

from pathlib import Path

from liveupdated import criu, paths, systemd, unitrestore
from liveupdated.session import Session, Store, boot_id, remove_tree
from liveupdated.workloads import kind

GENERATED = "systemd/generator"
"""Below `systemd.RUN`, where systemd has the generators write."""

ON_THE_WAY = {
    # What the restore worker and some units that come back wait for.
    "systemd-remount-fs.service": 10000,
    "systemd-tmpfiles-setup-dev-early.service": 10000,
    "systemd-tmpfiles-setup-dev.service": 10000,
    "systemd-journal-flush.service": 10000,
    "systemd-tmpfiles-setup.service": 10000,
    # The drivers of network adapters (`modules_load=`, see kernels/tuning.py).
    "systemd-modules-load.service": 10000,
    # Who is back answers nobody before the network is up.
    "systemd-networkd.service": 10000,
    "NetworkManager.service": 10000,
    "networking.service": 10000,
    # It brings the network's devices, among all the others: after the restores, before the rest.
    "systemd-udevd.service": 1000,
    # As the restores, some of which ask these: without them nobody can log in, either.
    "dbus.service": 2000,
    "dbus-broker.service": 2000,
    "systemd-logind.service": 2000,
    "systemd-machined.service": 2000,
}
"""Other units, and what their StartupCPUWeight= is in the boot of a jump; 100 is the usual."""

COLDPLUG = "systemd-udev-trigger.service"
COLDPLUG_AFTER_DRIVERS = "[Unit]\nAfter=systemd-modules-load.service\n"
"""udev takes events as they come: those of the network's devices before those of all others."""


def write(store: Store, session: Session) -> None:
    """Write those of the session, for its jump only."""
    folder = _folder(store, session)
    units = folder / "units"
    for path, text in _files(store, session).items():
        file = units / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o644)
        file.parent.chmod(0o755)
    token = session.target.token if session.target else ""
    (folder / "jump").write_text(f"{boot_id()} {token}\n")


def forget(store: Store, session: Session) -> None:
    """There is no such boot any more."""
    remove_tree(_folder(store, session))


def generated(store: Store, session: Session) -> bool:
    """Whether the generator has put them in place."""
    units = _folder(store, session) / "units"
    there = systemd.RUN / GENERATED
    files = [path.relative_to(units) for path in units.rglob("*") if path.is_file()]
    return bool(files) and all((there / file).exists() for file in files)


def _folder(store: Store, session: Session) -> Path:
    return store.folder(session.id) / "boot"


def _files(store: Store, session: Session) -> dict[str, str]:
    files = {
        f"{name}.d/{unitrestore.DROPIN}": f"[Service]\nStartupCPUWeight={weight}\n"
        for name, weight in ON_THE_WAY.items()
    }
    from liveupdated import pci  # noqa: PLC0415 - the restore worker writes none

    # An adapter with firmware of its own may take seconds to start, and disks would wait for that.
    adapters = set(pci.network_modules())
    if adapters and adapters <= pci.VIRTUAL_ADAPTERS:
        files[f"{COLDPLUG}.d/{unitrestore.DROPIN}"] = COLDPLUG_AFTER_DRIVERS
    # A single restore would only wait for it: it cannot begin before systemd-sysctl.service either.
    by_criu = [w for w in session.workloads if w.saved and criu.KERNEL in w.needs]
    if len(by_criu) > 1:
        dropin = f"[Unit]\nWants={paths.CRIU_UNIT}\n"
        files[f"{paths.RESTORE_UNIT}.d/{unitrestore.DROPIN}"] = dropin
    for workload in session.returning:
        files |= kind(workload.kind).boot_files(workload, store.artifacts(session, workload.id))
    return files
