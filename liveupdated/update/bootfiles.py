# SPDX-License-Identifier: LGPL-2.1-or-later
"""Unit files and drop-ins for the boot after the jump: written by the save, put in place by the
generator (`packaging/libexec/generator`), which is a shell script for the sake of its start.

Not synced: the shutdown does that, and without the jump nobody reads them.
"""

from collections.abc import Sequence
from pathlib import Path

from liveupdated import criu, paths, systemd, unitrestore
from liveupdated.session import Session, Store, boot_id, remove_tree
from liveupdated.timeline.marks import FROZEN
from liveupdated.update import order
from liveupdated.workloads import kind

GENERATED = "systemd/generator"
"""Below `systemd.RUN`, where systemd has the generators write."""

MOST = 10000
"""The largest StartupCPUWeight= that systemd takes; 100 is the usual."""

ON_THE_WAY = {
    # What the restore worker and the units that come back wait for.
    "systemd-remount-fs.service": MOST,
    "systemd-sysctl.service": MOST,
    "kmod-static-nodes.service": MOST,
    "systemd-tmpfiles-setup-dev-early.service": MOST,
    "systemd-tmpfiles-setup-dev.service": MOST,
    "systemd-journal-flush.service": MOST,
    "systemd-tmpfiles-setup.service": MOST,
    # The drivers of network adapters (`modules_load=`, see kernels/tuning.py).
    "systemd-modules-load.service": MOST,
    # Who is back answers nobody before the network is up.
    "systemd-network-generator.service": MOST,
    "systemd-networkd.service": MOST,
    "NetworkManager.service": MOST,
    "networking.service": MOST,
    "systemd-udev-load-credentials.service": MOST,
    # What hides parts of /proc (ProtectProc=), as networkd, has this automounted first.
    "proc-sys-fs-binfmt_misc.mount": MOST,
    # As the restores, some of which ask these: without them nobody can log in, either.
    "dbus.service": 2000,
    "dbus-broker.service": 2000,
    "systemd-logind.service": 2000,
    "systemd-machined.service": 2000,
}
"""Other units, and what their StartupCPUWeight= is in the boot of a jump."""

FIRST_BACK, LAST_BACK = 2000, 200
"""The same, of what comes back.  Dozens of restores keep all processors busy for longer than others
may take to start, so each has less than those on the way."""

UDEV, UDEV_SHARE, UDEV_LEAST = "systemd-udevd.service", 1 / 4, 1000
"""It brings the network's devices, among all the others: beside dozens of restores it needs a share
of what they have together, and must not take it from a few."""

COLDPLUG = "systemd-udev-trigger.service"
COLDPLUG_AFTER_DRIVERS = "[Unit]\nAfter=systemd-modules-load.service\n"
"""udev takes events as they come: those of the network's devices before those of all others."""

CRIU_SYSCTLS = ("nr_open", "mmap_min_addr")
"""Those that CRIU takes note of when it looks at the kernel (its kerndat.c)."""
CRIU_AFTER_SYSCTL = "[Unit]\nAfter=systemd-sysctl.service\n"
SYSCTL_FOLDERS = [paths.ROOT / top for top in ("etc", "run", "usr/local/lib", "usr/lib")]
"""That have a sysctl.d, by sysctl.d(5)."""


def write(store: Store, session: Session) -> None:
    """Write those of the session, for its jump only."""
    folder = _folder(store, session)
    units = folder / "units"
    _weigh(session)
    for path, text in _files(store, session).items():
        file = units / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o644)
        file.parent.chmod(0o755)
    token = session.target.token if session.target else ""
    (folder / "jump").write_text(f"{boot_id()} {token}\n")


def _weigh(session: Session) -> None:
    """Side by side and with equal shares all restores would be over at about the same time, and who
    was frozen first would have stood still for the whole save and the whole restore.

    What may stand still least was frozen last, and is back first nevertheless.
    """
    frozen = sorted(
        (mark for mark in session.marks if mark.name == FROZEN), key=lambda mark: mark.boottime_us
    )
    least_patient = order.least_patient([w for w in session.workloads if w.saved is not None])
    back = order.first_back(
        session.workloads, [*(w.id for w in least_patient), *(mark.workload for mark in frozen)]
    )
    by_id = {workload.id: workload for workload in session.workloads}
    for place, workload_id in enumerate(back):
        share = place / max(len(back) - 1, 1)
        by_id[workload_id].restore_weight = round(FIRST_BACK * (LAST_BACK / FIRST_BACK) ** share)


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
    restores = sum(workload.restore_weight for workload in session.returning)
    udev = max(UDEV_LEAST, min(round(UDEV_SHARE * restores), MOST))
    files = {
        f"{name}.d/{unitrestore.DROPIN}": f"[{_section(name)}]\nStartupCPUWeight={weight}\n"
        for name, weight in {**ON_THE_WAY, UDEV: udev}.items()
    }
    from liveupdated import pci  # noqa: PLC0415 - the restore worker writes none

    # An adapter with firmware of its own may take seconds to start, and disks would wait for that.
    adapters = set(pci.network_modules())
    if adapters and adapters <= pci.VIRTUAL_ADAPTERS:
        files[f"{COLDPLUG}.d/{unitrestore.DROPIN}"] = COLDPLUG_AFTER_DRIVERS
    if any(workload.saved and criu.KERNEL in workload.needs for workload in session.workloads):
        dropin = f"[Unit]\nWants={paths.CRIU_UNIT}\n"
        files[f"{paths.RESTORE_UNIT}.d/{unitrestore.DROPIN}"] = dropin
        if _boot_sets(CRIU_SYSCTLS):
            files[f"{paths.CRIU_UNIT}.d/{unitrestore.DROPIN}"] = CRIU_AFTER_SYSCTL
    for workload in session.returning:
        files |= kind(workload.kind).boot_files(workload, store.artifacts(session, workload.id))
    return files


def _section(unit: str) -> str:
    """Where its settings stand: `Service`, `Mount` (systemd.resource-control(5))."""
    return unit.rpartition(".")[2].capitalize()


def _boot_sets(names: Sequence[str]) -> bool:
    """Whether a file of sysctl.d(5) speaks of one of these."""
    files = (file for folder in SYSCTL_FOLDERS for file in folder.glob("sysctl.d/*.conf"))
    texts = (file.read_text(errors="replace") for file in files if file.exists())
    return any(name in text for text in texts for name in names)
