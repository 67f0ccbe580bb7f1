# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whatever runs on a host is carried, or is named: all kinds of workloads in one live update.

In one machine: planned, rehearsed with obstacles, 6.12 -> 7.3, and back again with what was
saved of each kind damaged on the way.  What each kind is tested with is in `tests/vm/kinds`.
"""

import shlex
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.lab.agent import AgentAway, AgentError
from tests.lab.qemu import Machine
from tests.vm import kinds
from tests.vm.guest import JUMP_LIMIT_S, ctl, kernel_id, refused, release, wait_finished
from tests.vm.kinds import Kind, Row, option, together

MEMORY_MIB = 4096
REFUSAL_LOG = "/run/refusal"
ALTER = "/root/alter"
# The unit has no capabilities of its own.
ALTERING = f"[Service]\nExecStart={ALTER}\nCapabilityBoundingSet=~\nTimeoutStartSec=60s\n"

Kinds = Mapping[str, Kind]


def test_all_kinds_of_workloads_in_one_update(
    boot: Callable[..., Machine], installed: Path
) -> None:
    chosen = kinds.chosen()
    vm = boot(
        disk=installed,
        memory=max(MEMORY_MIB, *(option(kind, "MEMORY", 0) for kind in chosen.values())),
        ports=together(chosen, "PORTS"),
        append=" ".join(together(chosen, "APPEND")),
        qemu_args=together(chosen, "QEMU_ARGS"),
    )
    for name, kind in chosen.items():
        note(vm, f"furnish {name}")
        kind.furnish(vm)
    the_plan_names_each(vm, chosen)
    a_rehearsal_names_what_cannot_be_saved_and_brings_back_the_others(vm, chosen)
    all_are_carried_to_another_kernel(vm, chosen)
    what_was_damaged_on_the_way_starts_afresh(vm, chosen)


def note(vm: Machine, what: str) -> None:
    """For whoever reads the evidence."""
    vm.run(["logger", "--tag", "test", what])


def by_id(rows: list[Row]) -> dict[str, Row]:
    return {row["id"]: row for row in rows}


def accepted(chosen: Kinds) -> str:
    return " ".join(f"--accept-loss={shlex.quote(each)}" for each in together(chosen, "ACCEPT"))


def assert_all_go_on(vm: Machine, chosen: Kinds) -> None:
    for name, kind in chosen.items():
        note(vm, f"look at {name}")
        kind.assert_goes_on(vm)


def the_plan_names_each(vm: Machine, chosen: Kinds) -> None:
    plan = ctl(vm, f"plan --kernel {kernel_id(vm, '7.3')} {accepted(chosen)}")
    assert plan["blockers"] == [], plan
    rows = by_id(plan["workloads"])
    for kind in chosen.values():
        found = {name: rows.get(name, {"verdict": "not in the plan"}) for name in kind.PLANNED}
        assert {name: row["verdict"] for name, row in found.items()} == kind.PLANNED, found
        option(kind, "assert_planned", lambda vm, rows: None)(vm, rows)


def a_rehearsal_names_what_cannot_be_saved_and_brings_back_the_others(
    vm: Machine, chosen: Kinds
) -> None:
    """Once with an obstacle for each kind that shows only at the save; all is in its place then."""
    note(vm, "rehearse")
    boot_id = vm.boot_id()
    for kind in chosen.values():
        vm.run(option(kind, "REFUSAL", "true"), timeout=JUMP_LIMIT_S)
    command = f"liveupdatectl rehearse {accepted(chosen)}"
    words = together(chosen, "REFUSAL_WORDS")
    if words:
        refused(vm, command, *words)
    else:
        vm.run(command, timeout=JUMP_LIMIT_S)
    assert vm.boot_id() == boot_id
    session = ctl(vm, "history last")
    assert session["state"] == "rehearsed", session
    others = [note for note in session["notes"] if not any(word in note for word in words)]
    assert others == []
    # Processes live on in a unit of ours.
    ours = "-name '*liveupdated*' ! -name 'liveupdated-process-*'"
    assert vm.run(f"find /run/systemd/system {ours}").stdout == ""
    for kind in chosen.values():
        vm.run(option(kind, "REFUSAL_UNDO", "true"), timeout=JUMP_LIMIT_S)
    assert_all_go_on(vm, chosen)


def _refusal(vm: Machine, boot_id: str) -> str | None:
    """What liveupdatectl said when it gave up in that boot; None once that is over."""
    try:
        return vm.get(REFUSAL_LOG).decode() if vm.boot_id() == boot_id else None
    except (AgentAway, AgentError):
        return None


def jump(vm: Machine, version: str, chosen: Kinds) -> dict[str, Any]:
    note(vm, f"jump to {version}")
    before = vm.boot_id()
    vm.put(b"", REFUSAL_LOG)
    # Not as a child of the agent: it goes on until the shutdown ends it.
    vm.start(
        f"liveupdatectl update --yes --kernel {kernel_id(vm, version)} {accepted(chosen)} "
        f"> /var/tmp/update.log 2>&1 || cp /var/tmp/update.log {REFUSAL_LOG}"
    )
    while (refusal := _refusal(vm, before)) is not None:
        assert refusal == ""
        time.sleep(1)
    session = wait_finished(vm, before)
    assert release(vm).startswith(version)
    assert ctl(vm, "status")["staged_kernel"] == ""
    return session


def all_are_carried_to_another_kernel(vm: Machine, chosen: Kinds) -> None:
    session = jump(vm, "7.3.", chosen)
    rows = by_id(session["workloads"])
    for kind in chosen.values():
        found = {name: rows.get(name, {"outcome": "not there"}) for name in kind.OUTCOMES}
        assert {name: row["outcome"] for name, row in found.items()} == kind.OUTCOMES, found
    assert session["state"] == "confirmed", session
    assert_all_go_on(vm, chosen)
    for kind in chosen.values():
        option(kind, "assert_returned", lambda vm, session: None)(vm, session)


def what_was_damaged_on_the_way_starts_afresh(vm: Machine, chosen: Kinds) -> None:
    script = "#!/bin/bash\n" + "".join(f"(\n{kind.ALTER}\n)\n" for kind in chosen.values())
    vm.put(script.encode(), ALTER, 0o755)
    vm.put(ALTERING.encode(), "/etc/systemd/system/liveupdated-stopped.service.d/alter.conf")
    vm.run("systemctl daemon-reload")
    session = jump(vm, "6.12.", chosen)
    rows = by_id(session["workloads"])
    for kind in chosen.values():
        expected = {name: outcome for name, (outcome, _) in kind.ALTERED.items()}
        assert {name: rows[name]["outcome"] for name in expected} == expected, rows
        for name, (_, words) in kind.ALTERED.items():
            assert words in rows[name]["outcome_reason"], rows[name]
        option(kind, "assert_fresh", lambda vm: None)(vm)
    if any(kind.ALTERED for kind in chosen.values()):
        assert session["state"] == "degraded", session
        vm.run("liveupdatectl confirm")
        assert ctl(vm, "history last")["state"] == "confirmed"
