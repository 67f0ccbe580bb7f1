# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lab does what the tests that stand on it take for granted."""

import socket
from collections.abc import Callable

import pytest

from tests.lab.errors import CommandFailed, GuestGone, GuestPanic
from tests.lab.qemu import Machine


def test_the_lab(boot: Callable[..., Machine]) -> None:
    vm = boot(ports=[4000])
    commands_and_files(vm)
    a_power_cut_keeps_what_was_flushed(vm)
    a_reboot_under_a_command_is_noticed(vm)
    a_panic_that_nobody_asked_for_is_noticed(vm)


def commands_and_files(vm: Machine) -> None:
    done = vm.run("cat; echo two >&2; exit 3", stdin=b"one", check=False)
    assert (done.stdout, done.stderr, done.code) == ("one", "two\n", 3)
    with pytest.raises(CommandFailed, match="two"):
        vm.run("echo two >&2; false")

    data = bytes(range(256)) * 4000
    vm.put(data, "/root/new/file", mode=0o750)
    assert vm.get("/root/new/file") == data
    assert vm.run(["stat", "-c", "%a", "/root/new/file"]).stdout == "750\n"

    vm.run("systemd-run -q --collect socat TCP-LISTEN:4000,fork EXEC:'echo hello'; sleep 1")
    with socket.create_connection(("127.0.0.1", vm.port(4000)), timeout=30) as client:
        assert client.recv(16) == b"hello\n"


def a_power_cut_keeps_what_was_flushed(vm: Machine) -> None:
    assert vm.run(["uname", "-r"]).stdout.startswith("6.12.")
    vm.run("echo durable > /root/flushed; sync /root/flushed /root; echo lost > /root/late")
    first = vm.boot_id()

    assert vm.reset(kernel="7.3") != first

    assert vm.run(["uname", "-r"]).stdout.startswith("7.3.")
    assert vm.get("/root/flushed") == b"durable\n"
    assert vm.run("cat /root/late", check=False).stdout == ""


def a_reboot_under_a_command_is_noticed(vm: Machine) -> None:
    with pytest.raises(GuestGone):
        vm.run("systemctl soft-reboot; sleep 600", timeout=300)
    vm.wait_running()


def a_panic_that_nobody_asked_for_is_noticed(vm: Machine) -> None:
    now = vm.boot_id()
    vm.start("echo c > /proc/sysrq-trigger")
    with pytest.raises(GuestPanic, match="sysrq"):
        vm.wait_boot(now)
