# SPDX-License-Identifier: LGPL-2.1-or-later
"""Bare QEMU in services: guests that count go on counting on another kernel."""

from collections.abc import Mapping
from typing import Any

from tests.lab import boot_sector, guests
from tests.lab.guests import FOLDER, GUESTS, counts, wait_count
from tests.lab.qemu import Machine
from tests.vm.guest import ctl
from tests.vm.kinds import Row

PLAIN, SHARED = (f"machines:{name}.service" for name in GUESTS)
PLANNED = dict.fromkeys((PLAIN, SHARED), "carried")
OUTCOMES = PLANNED
ALTER = f"truncate -s 2M {FOLDER}/plain.img"
ALTERED = {
    PLAIN: ("restarted", f"{FOLDER}/plain.img was changed since the guest was saved"),
    SHARED: ("carried", ""),
}
PHASES = ("pause", "snapshot", "kexec", "restore", "resume")

furnish = guests.furnish


def assert_planned(vm: Machine, rows: Mapping[str, Row]) -> None:
    assert "its RAM is saved" in rows[PLAIN]["reason"]
    assert f"its RAM stays in {FOLDER}/shared.ram" in rows[SHARED]["reason"]
    assert rows[SHARED]["bytes"] < rows[PLAIN]["bytes"]
    assert "units:plain.service" not in rows, "units lists it too"


def assert_goes_on(vm: Machine) -> None:
    guests.assert_counts_on(vm)
    the_board_clocks_are_right(vm)
    the_units_are_their_own_again(vm)


def assert_returned(vm: Machine, session: dict[str, Any]) -> None:
    each_phase_is_in_the_ledger(vm)
    the_disk_has_what_the_guest_wrote(vm)


def assert_fresh(vm: Machine) -> None:
    """One was booted anew, the other one went on."""
    wait_count(vm, "plain", 3)
    assert counts(vm, "plain").count(1) == 2, "it was not booted afresh"
    wait_count(vm, "shared", 3)
    numbers = counts(vm, "shared")
    assert numbers == list(range(1, len(numbers) + 1))
    the_units_are_their_own_again(vm)
    a_later_restart_is_a_boot_of_the_guest(vm)


def each_phase_is_in_the_ledger(vm: Machine) -> None:
    phases = ctl(vm, "timeline last")["phases"]
    for workload in PLANNED:
        spans = {
            phase["name"]: phase["duration_us"] for phase in phases if phase["workload"] == workload
        }
        parts = [spans[f"blackout/{part}"] for part in PHASES]
        assert all(parts), spans
        # A clock of its own for each boot: the sum is that of the marks' rounding.
        assert abs(sum(parts) - spans["blackout"]) < 1000, spans


def the_board_clocks_are_right(vm: Machine) -> None:
    """What the guest reads from its RTC is the host's time, blackout or not."""
    for name in GUESTS:
        wait_count(vm, name, 2)
        shown = vm.run(f"tail -n 2 {FOLDER}/{name}.log | head -n 1; date -u +%H%M%S").stdout
        said, now = (boot_sector.seconds(line[-6:]) for line in shown.split("\n")[:2])
        assert (now - said) % 86400 < 20, shown


def the_units_are_their_own_again(vm: Machine) -> None:
    for name in GUESTS:
        left = vm.run(f"find /run/systemd -path '*/{name}.service.d/*-liveupdated-*'").stdout
        assert left == ""
    shown = vm.run("systemctl show plain -p User,Type,Restart,NeedDaemonReload,MainPID").stdout
    fields = dict(line.split("=", 1) for line in shown.splitlines())
    main = fields.pop("MainPID")
    expected = {"User": "guests", "Type": "simple", "Restart": "always", "NeedDaemonReload": "no"}
    assert fields == expected
    assert vm.run(["stat", "-c", "%U", f"/proc/{main}"]).stdout == "guests\n"
    assert vm.run(["grep", "NoNewPrivs", f"/proc/{main}/status"]).stdout.split()[1] == "1"
    assert vm.run(["cat", f"/proc/{main}/cgroup"]).stdout == "0::/system.slice/plain.service\n"


def the_disk_has_what_the_guest_wrote(vm: Machine) -> None:
    data = vm.run(
        f"tail -n 1 {FOLDER}/plain.log; dd if={FOLDER}/plain.img bs=1 skip=512 count=2 "
        "status=none | od -An -tu2"
    ).stdout.split()
    assert 0 <= int(data[-1]) - int(data[0], 16) < 20, data


def a_later_restart_is_a_boot_of_the_guest(vm: Machine) -> None:
    vm.run("systemctl restart shared")
    (main,) = vm.run(["systemctl", "show", "-P", "MainPID", "shared"]).stdout.split()
    assert "-incoming" not in vm.run(["cat", f"/proc/{main}/cmdline"]).stdout
    vm.run(f"until [ $(grep -c '^0001 ' {FOLDER}/shared.log) = 2 ]; do sleep 0.2; done")
