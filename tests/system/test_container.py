# SPDX-License-Identifier: LGPL-2.1-or-later
"""The container does what the tests that stand on it take for granted."""

import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.lab.container import Container
from tests.lab.errors import CommandFailed, LabError


def test_systemd_and_its_bus_run(boot: Callable[..., Container]) -> None:
    box = boot()
    assert box.run(["systemctl", "is-system-running"]).stdout == "running\n"
    listed = box.run(["busctl", "list", "--acquired"]).stdout
    assert "org.freedesktop.systemd1" in listed
    assert "org.freedesktop.login1" in listed
    # what kexec asks of logind is there; the kernel itself is out of reach
    box.run(["busctl", "introspect", "org.freedesktop.login1", "/org/freedesktop/login1"])


def test_commands_and_files(boot: Callable[..., Container]) -> None:
    box = boot()
    done = box.run("cat; pwd; echo two >&2; exit 3", stdin=b"one\n", check=False)
    assert (done.stdout, done.stderr, done.code) == ("one\n/\n", "two\n", 3)
    with pytest.raises(CommandFailed, match="two"):
        box.run("echo two >&2; false")
    with pytest.raises(LabError, match="longer than 1 s"):
        box.run(["sleep", "60"], timeout=1)

    box.put(b"\0data", "/root/new/file", mode=0o750)
    assert box.get("/root/new/file") == b"\0data"
    assert box.run(["stat", "-c", "%a", "/root/new/file"]).stdout == "750\n"


def test_containers_do_not_share_what_they_write(boot: Callable[..., Container]) -> None:
    one, two = boot(), boot()
    one.put(b"mine", "/root/file")
    assert two.run(["test", "-e", "/root/file"], check=False).code == 1
    assert one.run(["cat", "/etc/machine-id"]) != two.run(["cat", "/etc/machine-id"])


def test_soft_reboot_leaves_the_channel_open(boot: Callable[..., Container]) -> None:
    box = boot()
    box.run(["systemctl", "--no-block", "soft-reboot"])
    limit = time.monotonic() + 60
    count = "0"
    while count != "1" and time.monotonic() < limit:
        # A question that is asked while the system is exchanged is stopped for ever.
        with suppress(LabError):
            shown = box.run("systemctl show -P SoftRebootsCount", check=False, timeout=5)
            count = shown.stdout.strip()
        time.sleep(0.2)
    assert count == "1"
