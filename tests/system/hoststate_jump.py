# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs inside the container: what the steps do with workloads of kind `hoststate` alone."""

import dataclasses
import json
import sys
from pathlib import Path

from liveupdated import systemd
from liveupdated.session import Verdict, Workload, workload_from_json
from liveupdated.workloads import hoststate

ARTIFACTS = Path("/var/lib/liveupdated/hoststate")
SAVED = ARTIFACTS / "saved.json"
OUTCOMES = ARTIFACTS / "outcomes.json"


def ignore(mark: str) -> None:
    """No ledger here."""


def find() -> list[Workload]:
    from liveupdated.host import Host  # noqa: PLC0415

    return list(hoststate.find(Host([])))


def listed(workloads: list[Workload]) -> str:
    return json.dumps([dataclasses.asdict(workload) for workload in workloads])


def save() -> None:
    found = find()
    for workload in found:
        if workload.verdict is not Verdict.LOST:
            folder = ARTIFACTS / workload.name
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            hoststate.save(workload, folder, ignore)
    SAVED.write_text(listed(found))


def restore(jumped: bool) -> None:
    workloads = [workload_from_json(data) for data in json.loads(SAVED.read_text())]
    for workload in workloads:
        hoststate.prepare(workload, ARTIFACTS / workload.name)
    systemd.notify("READY=1")
    outcomes = {}
    for workload in workloads:
        if jumped:
            result = hoststate.restore(workload, ARTIFACTS / workload.name, ignore)
        else:
            result = hoststate.restart(workload)
        outcomes[workload.name] = [result.outcome, result.reason]
    OUTCOMES.write_text(json.dumps(outcomes))


def main(step: str, *words: str) -> None:
    match step:
        case "find":
            Path(words[0]).write_text(listed(find()))
        case "save":
            save()
        case "restore":
            restore(True)
        case "restart":
            restore(False)


if __name__ == "__main__":
    main(*sys.argv[1:])
