# SPDX-License-Identifier: LGPL-2.1-or-later
"""A live update between two real kernels, with the same redis and counter on both sides."""

import json
import re

from tests.lab.qemu import Machine
from tests.vm.guest import (
    JUMP_LIMIT_S,
    assert_counted_on,
    busctl,
    counts,
    ctl,
    furnish,
    kernel_id,
    outcomes,
    redis,
    release,
    wait_finished,
)

EXPECTED = {
    "redis-server.service": ("carried", "carried"),
    "counter.service": ("carried", "carried"),
    "by-hand.service": ("restarted", "restarted"),
    "memcached.service": ("carried", "carried"),  # its being stopped
}


def test_memory_is_carried_to_the_other_kernel(vm: Machine) -> None:
    """6.12 → 7.3 by busctl alone, after a rehearsal in place."""
    furnish(vm)
    before = redis(vm)
    assert before["keys"] == "1000"
    rehearse_in_place(vm, before)
    by_busctl(vm)
    assert_all_well(vm, before, "7.3.")


def rehearse_in_place(vm: Machine, before: dict[str, str]) -> None:
    vm.run(["liveupdatectl", "rehearse"], timeout=JUMP_LIMIT_S)
    session = ctl(vm, "history last")
    assert session["state"] == "rehearsed", session
    assert redis(vm)["process_id"] == before["process_id"]
    assert_counted_on(vm)


def by_busctl(vm: Machine) -> None:
    kernel = kernel_id(vm, "7.3")
    assert re.match(r'uo \d+ "/org/liveupdate1/job/', busctl(vm, f"Stage sa{{sv}} {kernel} 0"))
    vm.run(
        "until [ $(cat /sys/kernel/kexec_loaded) = 1 ] && "
        "liveupdatectl status --json | grep -q '\"idle\"'; do sleep 1; done",
        timeout=JUMP_LIMIT_S,
    )
    plan = busctl(vm, f"Plan a{{sv}} 1 kernel s {kernel}")
    for name in EXPECTED:
        assert name in plan
    first = vm.boot_id()
    busctl(vm, f"Update a{{sv}} 1 kernel s {kernel}")
    session = wait_finished(vm, first)
    assert session["state"] == "confirmed", session["notes"]
    assert session["road"] == "update"
    path = json.loads(
        vm.run(
            "busctl get-property -j org.liveupdate1 /org/liveupdate1 org.liveupdate1.Manager "
            "LastSession"
        ).stdout
    )["data"]
    shown = vm.run(f"busctl introspect --full org.liveupdate1 {path}").stdout
    for name, (_, outcome) in EXPECTED.items():
        assert name in shown and outcome in shown


def assert_all_well(vm: Machine, before: dict[str, str], version: str) -> None:
    assert release(vm).startswith(version)
    after = redis(vm)
    assert (after["keys"], after["process_id"]) == ("1000", before["process_id"])
    assert vm.run(["redis-cli", "get", "key500"]).stdout == "value500\n"
    assert_counted_on(vm)
    assert counts(vm)[-1][1].startswith(version)
    found = outcomes(ctl(vm, "history last"))
    assert {name: found[name] for name in EXPECTED} == EXPECTED
