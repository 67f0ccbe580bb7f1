# SPDX-License-Identifier: LGPL-2.1-or-later
"""Virtual machines in the virtual machine: guests that count go on counting on another kernel."""

from typing import Any

from tests.lab import boot_sector
from tests.lab.guests import (
    FOLDER,
    GUESTS,
    assert_counts_on,
    counts,
    furnish,
    mains,
    rows,
    wait_count,
)
from tests.lab.qemu import Machine
from tests.vm.guest import (
    JUMP_LIMIT_S,
    MANAGER,
    ctl,
    kernel_id,
    outcomes,
    refused,
    release,
    unprinted,
    wait_finished,
)

CARRIED = {f"{name}.service": ("carried", "carried") for name in GUESTS}
PHASES = ("pause", "snapshot", "kexec", "restore", "resume")


def jump(vm: Machine, version: str) -> dict[str, Any]:
    """Update to the kernel whose version begins so; the session."""
    before = vm.boot_id()
    vm.run(f"busctl call {MANAGER} Update a{{sv}} 1 kernel s {kernel_id(vm, version)}")
    session = wait_finished(vm, before)
    assert release(vm).startswith(version)
    return session


def test_guests_go_on_counting_on_another_kernel_and_back(vm: Machine) -> None:
    furnish(vm)
    the_plan_says_what_becomes_of_them(vm)
    a_rehearsal_in_place(vm)
    for version in ("7.3.", "6.12."):
        session = jump(vm, version)
        assert session["state"] == "confirmed", session
        found = outcomes(session)
        assert {name: found[name] for name in CARRIED} == CARRIED
        assert_counts_on(vm)
        each_phase_is_in_the_ledger(vm)
        the_board_clock_is_right(vm)
        the_units_are_their_own_again(vm)
    the_disk_has_what_the_guest_wrote(vm)
    a_later_restart_is_a_boot_of_the_guest(vm)


def the_plan_says_what_becomes_of_them(vm: Machine) -> None:
    planned = rows(vm)
    assert planned["plain.service"]["verdict"] == "carried"
    assert "its RAM is saved" in planned["plain.service"]["reason"]
    assert planned["shared.service"]["verdict"] == "carried"
    assert f"its RAM stays in {FOLDER}/shared.ram" in planned["shared.service"]["reason"]
    assert planned["shared.service"]["bytes"] < planned["plain.service"]["bytes"]
    shown = vm.run("liveupdatectl workloads --json", timeout=JUMP_LIMIT_S).stdout
    assert shown.count('"plain.service"') == 1, "units lists it too"


def a_rehearsal_in_place(vm: Machine) -> None:
    before = mains(vm)
    vm.run(["liveupdatectl", "rehearse"], timeout=JUMP_LIMIT_S)
    assert ctl(vm, "history last")["state"] == "rehearsed"
    assert_counts_on(vm)
    assert not set(before) & set(mains(vm))


def each_phase_is_in_the_ledger(vm: Machine) -> None:
    phases = ctl(vm, "timeline last")["phases"]
    for name in GUESTS:
        spans = {
            phase["name"]: phase["duration_us"]
            for phase in phases
            if phase["workload"] == f"machines:{name}.service"
        }
        parts = [spans[f"blackout/{part}"] for part in PHASES]
        assert all(parts), spans
        # A clock of its own for each boot: the sum is that of the marks' rounding.
        assert abs(sum(parts) - spans["blackout"]) < 1000, spans


def the_board_clock_is_right(vm: Machine) -> None:
    """What the guest reads from its RTC is the host's time, blackout or not."""
    for name in GUESTS:
        wait_count(vm, name, 2)
        shown = vm.run(f"tail -n 2 {FOLDER}/{name}.log | head -n 1; date -u +%H%M%S").stdout
        said, now = (boot_sector.seconds(line[-6:]) for line in shown.split("\n")[:2])
        assert (now - said) % 86400 < 20, shown


def the_units_are_their_own_again(vm: Machine) -> None:
    assert vm.run("find /run/systemd -name '*-liveupdated-*'").stdout == ""
    shown = vm.run("systemctl show plain -p User,Type,Restart,NeedDaemonReload,MainPID").stdout
    fields = dict(line.split("=", 1) for line in shown.splitlines())
    main = fields.pop("MainPID")
    expected = {"User": "guests", "Type": "simple", "Restart": "always", "NeedDaemonReload": "no"}
    assert fields == expected
    assert vm.run(["stat", "-c", "%U", f"/proc/{main}"]).stdout == "guests\n"
    assert vm.run(["grep", "NoNewPrivs", f"/proc/{main}/status"]).stdout.split()[1] == "1"
    assert vm.run(["cat", f"/proc/{main}/cgroup"]).stdout == "0::/system.slice/plain.service\n"


def the_disk_has_what_the_guest_wrote(vm: Machine) -> None:
    vm.run("systemctl stop plain")
    data = vm.get(f"{FOLDER}/plain.img")
    assert int.from_bytes(data[512:514], "little") - counts(vm, "plain")[-1] in (0, 1)
    vm.run("systemctl start plain")


def a_later_restart_is_a_boot_of_the_guest(vm: Machine) -> None:
    (main,) = vm.run(["systemctl", "show", "-P", "MainPID", "plain"]).stdout.split()
    assert "-incoming" not in vm.run(["cat", f"/proc/{main}/cmdline"]).stdout
    vm.run(f"until [ $(grep -c '^0001 ' {FOLDER}/plain.log) = 2 ]; do sleep 0.2; done")


# CRIU knows no AF_ALG sockets, and says so only when it dumps: after the guests, which come first.
REFUSED_LATE = b"""\
[Service]
X-LiveUpdate=carry
ExecStart=/usr/bin/python3 -c "import socket, time; s = socket.socket(socket.AF_ALG, \\
 socket.SOCK_SEQPACKET); s.bind(('hash', 'sha256')); time.sleep(1e6)"
"""
ALTER = f"""\
[Unit]
DefaultDependencies=no
After=umount.target
Before=systemd-kexec.service
[Service]
Type=oneshot
ExecStart=/usr/bin/truncate -s 2M {FOLDER}/plain.img
[Install]
WantedBy=kexec.target
"""


def test_what_cannot_be_carried_after_all_is_not_lost_in_silence(vm: Machine) -> None:
    furnish(vm)
    an_update_called_off_after_the_save(vm)
    an_image_that_changed_meanwhile(vm)


def an_update_called_off_after_the_save(vm: Machine) -> None:
    vm.put(REFUSED_LATE, "/etc/systemd/system/late.service")
    vm.run("systemctl daemon-reload; systemctl start late")
    before = mains(vm)
    refused(vm, f"liveupdatectl update --yes --kernel {kernel_id(vm, '7.3')}", "late.service")
    assert ctl(vm, "history last")["state"] == "abandoned"
    phases = ctl(vm, "timeline last")["phases"]
    saved = {phase["workload"] for phase in phases if phase["name"] == "blackout/snapshot"}
    assert saved == {f"machines:{name}.service" for name in GUESTS}
    assert mains(vm) == before
    assert_counts_on(vm)
    assert vm.run("find /run/systemd -name '*-liveupdated-*'").stdout == ""
    vm.run("systemctl stop late; rm /etc/systemd/system/late.service; systemctl daemon-reload")


def an_image_that_changed_meanwhile(vm: Machine) -> None:
    """Changed as the last thing before the jump: no restore, a fresh start, and the reason."""
    vm.put(ALTER.encode(), "/etc/systemd/system/alter.service")
    vm.run("systemctl enable alter.service")
    session = jump(vm, "7.3.")
    assert session["state"] == "degraded", session
    found = outcomes(session)
    assert found["plain.service"] == ("carried", "restarted")
    assert found["shared.service"] == ("carried", "carried")
    reasons = {w["name"]: unprinted(w["outcome_reason"]) for w in session["workloads"]}
    assert f"{FOLDER}/plain.img was changed since the guest was saved" in reasons["plain.service"]
    assert "started afresh" in reasons["plain.service"]
    wait_count(vm, "plain", 3)
    assert counts(vm, "plain").count(1) == 2, "it was not booted afresh"
    the_units_are_their_own_again(vm)
