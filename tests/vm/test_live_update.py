# SPDX-License-Identifier: LGPL-2.1-or-later
"""Live updates between two real kernels, by every road: the same redis and counter all the way."""

import json
import re
import time

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


def test_there_and_back_again_by_every_road(vm: Machine) -> None:
    """6.12 → 7.3 by busctl alone, back by `systemctl kexec`, there by the timer, rolled back."""
    furnish(vm)
    before = redis(vm)
    assert before["keys"] == "1000"
    rehearse_in_place(vm, before)
    by_busctl(vm)
    assert_all_well(vm, before, "7.3.")
    by_systemctl_kexec(vm)
    assert_all_well(vm, before, "6.12.")
    by_the_timer(vm)
    assert_all_well(vm, before, "7.3.")
    by_rollback(vm)
    assert_all_well(vm, before, "6.12.")
    the_units_are_their_own_again(vm)


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


def by_systemctl_kexec(vm: Machine) -> None:
    """The operator stages with our tool and jumps with systemd's."""
    vm.run(f"liveupdatectl stage {kernel_id(vm, '6.12')}", timeout=JUMP_LIMIT_S)
    first = vm.boot_id()
    vm.start(["systemctl", "kexec"])
    session = wait_finished(vm, first)
    assert (session["state"], session["road"]) == ("confirmed", "operator"), session


def by_the_timer(vm: Machine) -> None:
    first = vm.boot_id()
    clock = int(vm.run(["date", "+%s"]).stdout) + 120
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(clock))
    vm.run(f"liveupdatectl schedule '{when}'", timeout=JUMP_LIMIT_S)
    session = wait_finished(vm, first)
    assert (session["state"], session["road"]) == ("confirmed", "timer"), session


def by_rollback(vm: Machine) -> None:
    first = vm.boot_id()
    vm.start(["liveupdatectl", "rollback", "--yes"])
    session = wait_finished(vm, first)
    assert (session["state"], session["road"]) == ("confirmed", "rollback"), session


def assert_all_well(vm: Machine, before: dict[str, str], version: str) -> None:
    assert release(vm).startswith(version)
    after = redis(vm)
    assert (after["keys"], after["process_id"]) == ("1000", before["process_id"])
    assert vm.run(["redis-cli", "get", "key500"]).stdout == "value500\n"
    assert_counted_on(vm)
    assert counts(vm)[-1][1].startswith(version)
    found = outcomes(ctl(vm, "history last"))
    assert {name: found[name] for name in EXPECTED} == EXPECTED
    # A unit of systemd's like any other: cgroup, limits, properties, journal.
    shown = vm.run(
        "systemctl show counter redis-server by-hand memcached "
        "-p Id,ActiveState,Type,Restart,MemoryMax,Nice,WatchdogUSec,NeedDaemonReload"
    ).stdout
    assert "Id=by-hand.service" in shown and "MemoryMax=67108864" in shown
    assert "Nice=7" in shown
    main = vm.run(["systemctl", "show", "-P", "MainPID", "counter"]).stdout.strip()
    cgroup = vm.run(["cat", f"/proc/{main}/cgroup"]).stdout
    assert cgroup == "0::/system.slice/counter.service\n"
    assert vm.run(["systemctl", "is-active", "memcached"], check=False).stdout == "inactive\n"
    assert vm.run(["cat", "/run/counter/pid"]).stdout.strip() == main
    assert vm.run(["cat", f"/proc/{main}/root/tmp/private"]).stdout == "mine"
    assert vm.run("find /run/systemd -name '*-liveupdated-restore.conf'").stdout == ""
    assert (
        vm.run("journalctl -b -1 -u liveupdated | grep -c Traceback", check=False).stdout == "0\n"
    )
    phases = {phase["name"] for phase in ctl(vm, "timeline last")["phases"]}
    assert {"save", "kernel", "restore", "blackout"} <= phases


def the_units_are_their_own_again(vm: Machine) -> None:
    """Type, watchdog and restart as in the unit file; a stopped unit can be started."""
    shown = vm.run("systemctl show counter -p Type,Restart,WatchdogUSec,NotifyAccess").stdout
    assert set(shown.split()) == {
        "Type=notify",
        "Restart=always",
        "WatchdogUSec=1min",
        "NotifyAccess=main",
    }
    main = vm.run(["systemctl", "show", "-P", "MainPID", "counter"]).stdout.strip()
    vm.run(f"kill -KILL {main}")
    vm.run(
        f"until systemctl is-active -q counter && [ $(systemctl show -P MainPID counter) != {main} "
        "]; do sleep 0.5; done"
    )
    assert counts(vm)[0][0] == 1, "Restart= has not started the program anew"
    vm.run(["systemctl", "restart", "counter"])
    assert vm.run(["cat", "/var/lib/counter/terminated"]).stdout == "SIGTERM\n"
    vm.run(["systemctl", "start", "memcached"])
    assert vm.run(["systemctl", "is-active", "memcached"]).stdout == "active\n"
