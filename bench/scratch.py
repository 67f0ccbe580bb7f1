# SPDX-License-Identifier: LGPL-2.1-or-later
"""The machine that the daemon and the restore worker of a measurement find below their root."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

from liveupdated import carriers, instructions, tcp
from liveupdated.carriers import Carrier
from liveupdated.session import (
    Session,
    State,
    Store,
    Verdict,
    Workload,
    new_session,
    write_durably,
)
from liveupdated.timeline.marks import JUMP_REQUESTED
from liveupdated.update import bootfiles

MACHINE = "0" * 32
PAST = 3
"""Updates."""
CARRIED = 10
"""Services in each."""


def furnish(root: Path) -> None:
    """A machine with a copy of this host's kernels, a few updates behind it, and no settings."""
    for folder in ("etc/liveupdated/conf.d", "var/lib/liveupdated", "run/liveupdated", "boot"):
        (root / folder).mkdir(parents=True)
    for folder in ("proc", "sys"):
        (root / folder).symlink_to(f"/{folder}")
    (root / "etc/machine-id").write_text(f"{MACHINE}\n")
    for pattern in ("vmlinuz-*", "config-*", "initrd.img-*"):
        for file in Path("/boot").glob(pattern):
            shutil.copy(file, root / "boot")
    store = Store(root / "var/lib/liveupdated")
    for _ in range(PAST):
        session = _session()
        session.state = State.CONFIRMED
        store.store(session)


def write_found(root: Path, count: int) -> None:
    """What the plan's worker leaves for the daemon."""
    workloads = [asdict(_workload(number)) for number in range(count)]
    disk = Carrier("disk", root / "var/lib/liveupdated", 1 << 50, "")
    found = {"workloads": workloads, "carriers": [carriers.to_json(disk)]}
    write_durably(root / "run/liveupdated/workloads.json", json.dumps(found).encode())


def _workload(number: int) -> Workload:
    name = f"worker{number}.service"
    return Workload(
        id=f"services:{name}",
        kind="services",
        name=name,
        verdict=Verdict.CARRIED,
        reason=f"/etc/liveupdated/workloads.d/50-worker.toml carries {name}",
        bytes=16 << 20,
        cost_us=1_500_000,
        source="/etc/liveupdated/workloads.d/50-worker.toml",
        provides=[f"unit:{name}", f"cgroup:/system.slice/{name}"],
        needs=["kernel:criu", "path:/var/lib/worker"],
        facts={"main": 1000 + number, "cgroup": f"/system.slice/{name}", "files": {}},
    )


def write_session(root: Path) -> None:
    """A session of another boot that waits to be restored, with what the generator makes of it."""
    session = _session()
    session.state = State.JUMPING
    store = Store(root / "var/lib/liveupdated")
    store.open(session)
    for workload in session.workloads:
        artifacts = store.artifacts(session, workload.id)
        artifacts.mkdir()
        kept = tcp.to_json(tcp.NONE)
        plain = dict.fromkeys(("uts", "volatile", "single_files", "shell_job", "terminals"), False)
        launch = instructions.write(artifacts, {"outside": [], "files": {}, "tcp": kept, **plain})
        workload.saved = {"launch": launch, "watchdog_us": 0, "after_run": False, "tcp": kept}
    store.store(session)
    bootfiles.write(store, session)
    units = store.folder(session.id) / "boot/units"
    shutil.copytree(units, root / "run" / bootfiles.GENERATED)


def _session() -> Session:
    session = new_session("update")
    session.machine_id = MACHINE
    session.origin.boot_id = "1" * 32
    session.workloads = [_workload(number) for number in range(CARRIED)]
    session.mark(JUMP_REQUESTED)
    return session
