# SPDX-License-Identifier: LGPL-2.1-or-later
"""libvirt's domains: one that autostarts, a transient one, and one that a rule starts afresh."""

from collections.abc import Mapping
from typing import Any

from tests.lab import domains
from tests.lab.domains import CARRIED, FRESH, PASSING, STEADY, assert_counts_on, counts, wait_count
from tests.lab.qemu import Machine
from tests.vm.guest import ctl
from tests.vm.kinds import Row

PLANNED = {
    f"domains:{STEADY}": "carried",
    f"domains:{PASSING}": "carried",
    f"domains:{FRESH}": "restarted",
}
OUTCOMES = PLANNED
ALTER = f"printf x >> /var/lib/libvirt/qemu/save/{STEADY}.save"
ALTERED = {
    f"domains:{STEADY}": ("restarted", "it was altered"),
    f"domains:{PASSING}": ("carried", ""),
}
# libvirt cannot make the file, and nobody knows before it tries.
REFUSAL = f"mkdir /var/lib/libvirt/qemu/save/{STEADY}.save"
REFUSAL_WORDS = [f"{STEADY} could not be saved"]
REFUSAL_UNDO = f"rmdir /var/lib/libvirt/qemu/save/{STEADY}.save"
PHASES = ("pause", "snapshot", "kexec", "restore", "resume")

furnish = domains.furnish


def assert_planned(vm: Machine, rows: Mapping[str, Row]) -> None:
    assert "managed save" in rows[f"domains:{STEADY}"]["reason"]
    assert "transient" in rows[f"domains:{PASSING}"]["reason"]
    assert not [name for name in rows if name.startswith("machines:QEMU")], "machines lists it too"


def assert_goes_on(vm: Machine) -> None:
    assert_counts_on(vm, *CARRIED)
    wait_count(vm, FRESH, 3)


def assert_returned(vm: Machine, session: dict[str, Any]) -> None:
    assert counts(vm, FRESH).count(1) == 2, "it was not booted afresh"
    phases = ctl(vm, "timeline last")["phases"]
    for name in CARRIED:
        spans = {
            phase["name"]: phase["duration_us"]
            for phase in phases
            if phase["workload"] == f"domains:{name}"
        }
        parts = [spans[f"blackout/{part}"] for part in PHASES]
        assert all(parts), spans
        assert abs(sum(parts) - spans["blackout"]) < 1000, spans


def assert_fresh(vm: Machine) -> None:
    """One was booted anew, the transient one went on."""
    wait_count(vm, STEADY, 3)
    assert counts(vm, STEADY).count(1) == 2, "it was not booted afresh"
    assert_counts_on(vm, PASSING)
