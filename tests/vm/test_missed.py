# SPDX-License-Identifier: LGPL-2.1-or-later
"""The jump that was not: a power cut after the save."""

from tests.lab.qemu import Machine
from tests.vm.guest import (
    JUMP_LIMIT_S,
    MANAGER,
    furnish,
    kernel_id,
    outcomes,
    redis,
    release,
    wait_finished,
)


def test_a_power_cut_after_the_save_leaves_a_usable_machine(vm: Machine) -> None:
    """Firmware boots the old kernel again: memory is lost and named, units are back."""
    furnish(vm)
    vm.run(f"liveupdatectl stage {kernel_id(vm, '7.3')}", timeout=JUMP_LIMIT_S)
    before = vm.boot_id()
    # The guest cuts its own power: seen from here, the jump can be over between two looks.
    vm.start(
        f"busctl call {MANAGER} Update a{{sv}} 0 && "
        'until grep -qE \'"state":"(saved|jumping)"\' '
        "/var/lib/liveupdated/current/session.json; do sleep 0.02; done && "
        "echo b >/proc/sysrq-trigger"
    )
    session = wait_finished(vm, before)
    assert release(vm).startswith("6.12.")
    assert session["state"] == "missed", session
    assert "booted afresh" in session["reason"] or "before the jump" in session["reason"]
    found = outcomes(session)
    assert found["redis-server.service"] == ("carried", "restarted")
    assert found["counter.service"] == ("carried", "restarted")
    assert found["by-hand.service"] == ("restarted", "restarted")
    assert redis(vm)["keys"] == "0"
    reasons = {w["name"]: w["outcome_reason"] for w in session["workloads"]}
    assert "memory is lost" in reasons["redis-server.service"]
    assert vm.run(["systemctl", "is-active", "memcached"], check=False).stdout == "inactive\n"
    assert vm.run("find /run/systemd -name '*-liveupdated-restore.conf'").stdout == ""
