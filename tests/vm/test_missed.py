# SPDX-License-Identifier: LGPL-2.1-or-later
"""The jump that was not: a power cut after the save, a start that fails, an altered checkpoint."""

from tests.lab.qemu import Machine
from tests.vm.guest import (
    JUMP_LIMIT_S,
    MANAGER,
    counts,
    ctl,
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
    vm.run(f"busctl call {MANAGER} Update a{{sv}} 0", timeout=JUMP_LIMIT_S)
    vm.run(
        'until grep -qE \'"state":"(saved|jumping)"\' '
        "/var/lib/liveupdated/current/session.json; do sleep 0.02; done",
        timeout=JUMP_LIMIT_S,
    )
    vm.reset()
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


def test_a_checkpoint_that_was_altered_is_not_restored(vm: Machine) -> None:
    """The service starts afresh, by itself, and the outcome tells why; the other one is carried."""
    furnish(vm)
    # Altered after the save: as the last thing before the jump.
    vm.put(
        b"[Unit]\nDefaultDependencies=no\nAfter=umount.target\nBefore=systemd-kexec.service\n"
        b"[Service]\nType=oneshot\n"
        b"ExecStart=/bin/sh -c 'for f in /var/lib/liveupdated/current/*/images/core-*.img; do "
        b"grep -q redis $f && printf x >> $f; done; true'\n"
        b"[Install]\nWantedBy=kexec.target\n",
        "/etc/systemd/system/alter.service",
    )
    vm.run("systemctl enable alter.service")
    before, first = redis(vm), vm.boot_id()
    vm.run(f"busctl call {MANAGER} Update a{{sv}} 1 kernel s {kernel_id(vm, '7.3')}")
    session = wait_finished(vm, first)
    assert session["state"] == "degraded", session
    found = outcomes(session)
    assert found["redis-server.service"] == ("carried", "restarted")
    assert found["counter.service"] == ("carried", "carried")
    reasons = {w["name"]: w["outcome_reason"] for w in session["workloads"]}
    assert "altered" in reasons["redis-server.service"]
    assert redis(vm)["keys"] == "0" and redis(vm)["process_id"] != before["process_id"]
    assert len({kernel for _, kernel in counts(vm)}) == 2
    # the fresh start is the unit's own
    shown = vm.run("systemctl show redis-server -p Type,Restart,NeedDaemonReload").stdout
    assert set(shown.split()) == {"Type=notify", "Restart=always", "NeedDaemonReload=no"}
    assert ctl(vm, "status")["staged_kernel"] == ""
    vm.run("liveupdatectl confirm")
    assert ctl(vm, "history last")["state"] == "confirmed"
