# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs inside the container: what the steps do with workloads of the kind $KIND, and only those."""

import dataclasses
import json
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from liveupdated import systemd
from liveupdated.session import Outcome, Verdict, Workload, workload_from_json
from liveupdated.workloads import kind

KIND = kind(os.environ.get("KIND", "units"))
SAVED = Path("/var/lib/saved.json")
OUTCOMES = Path("/var/lib/outcomes.json")
BOOT = Path("/opt/root/var/lib/liveupdated/current/boot")
"""Where the generator of these boots looks."""
NOWHERE = Path("/nonexistent")


def ignore(mark: str) -> None:
    """No ledger here."""


def find() -> list[Workload]:
    from liveupdated.host import Host  # noqa: PLC0415
    from liveupdated.rules import load_rules  # noqa: PLC0415

    return list(KIND.find(Host(load_rules([KIND.RULE] if KIND.RULE else []))))


def save() -> None:
    found = find()
    for workload in found:
        if workload.verdict is not Verdict.LOST:
            KIND.save(workload, NOWHERE, ignore)
    SAVED.write_text(json.dumps([dataclasses.asdict(workload) for workload in found]))
    shutil.rmtree(BOOT, ignore_errors=True)
    for workload in found:
        if workload.verdict is Verdict.LOST:
            continue
        for path, text in KIND.boot_files(workload, NOWHERE).items():
            file = BOOT / "units" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    (BOOT / "units").mkdir(parents=True, exist_ok=True)
    (BOOT / "jump").write_text("the-boot-before token\n")


def saved() -> list[Workload]:
    return [workload_from_json(data) for data in json.loads(SAVED.read_text())]


def restore(jumped: bool) -> None:
    systemd.notify("READY=1")

    def one(workload: Workload) -> list[str]:
        if workload.verdict is Verdict.LOST:
            return [workload.name, Outcome.LOST, workload.reason]
        result = KIND.restore(workload, NOWHERE, ignore) if jumped else KIND.restart(workload)
        return [workload.name, result.outcome, result.reason]

    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(one, saved()))
    OUTCOMES.write_text(json.dumps(outcomes))


def main(step: str) -> None:
    match step:
        case "find":
            print(json.dumps([dataclasses.asdict(workload) for workload in find()]))
        case "save":
            save()
        case "restore":
            restore(True)
        case "restart":
            restore(False)
        case "settle":
            KIND.settle()


if __name__ == "__main__":
    main(*sys.argv[1:])
