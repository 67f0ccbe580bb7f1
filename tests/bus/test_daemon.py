# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon as systemd sees it: ready, reloading, alive, stopping."""

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from liveupdated import contract
from liveupdated.errors import Disconnected, ServiceError
from tests.bus.conftest import LIBRARIES
from tests.bus.private_bus import REPO, PrivateBus, private_bus

WATCHDOG_USEC = 400_000


@dataclass
class Process:
    """A running daemon, and what it tells systemd."""

    process: subprocess.Popen[str]
    notifications: socket.socket

    def heard(self, wanted: str) -> str:
        """The next notification that has a line which begins with `wanted`."""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            message = self.notifications.recv(4096).decode()
            if any(line.startswith(wanted) for line in message.splitlines()):
                return message
        raise AssertionError(f"{wanted} was not heard")

    def end(self) -> tuple[int, str]:
        output, _ = self.process.communicate(timeout=20)
        return self.process.returncode, output


@contextlib.contextmanager
def _daemon(bus: PrivateBus, library: str, folder: Path) -> Iterator[Process]:
    address = folder / f"notify-{time.monotonic_ns()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications:
        notifications.bind(str(address))
        notifications.settimeout(20)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.bus.run_daemon"],
            cwd=REPO,
            env={
                **bus.environment(),
                "NOTIFY_SOCKET": str(address),
                "LIVEUPDATED_DBUS": library,
                "WATCHDOG_USEC": str(WATCHDOG_USEC),
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield Process(process, notifications)
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()


def _busctl(bus: PrivateBus, *words: str) -> str:
    command = ["busctl", f"--address={bus.address}", "call", contract.NAME, contract.ROOT, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_life_from_ready_to_stopped(system_bus: PrivateBus, tmp_path: Path, library: str) -> None:
    with _daemon(system_bus, library, tmp_path) as daemon:
        daemon.heard("READY=1")
        _busctl(system_bus, "org.freedesktop.DBus.Peer", "Ping")  # it is there when it says so

        first, second = daemon.heard("WATCHDOG=1"), time.monotonic()
        daemon.heard("WATCHDOG=1")
        assert first == "WATCHDOG=1"
        assert time.monotonic() - second < WATCHDOG_USEC / 1e6

        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        daemon.process.send_signal(signal.SIGHUP)
        message = daemon.heard("RELOADING=1")
        stamp = next(line for line in message.splitlines() if line.startswith("MONOTONIC_USEC="))
        assert (
            before <= int(stamp.split("=")[1]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) / 1e3
        )
        daemon.heard("READY=1")

        daemon.process.send_signal(signal.SIGHUP)  # this one finds a bad file
        daemon.heard("RELOADING=1")
        assert "STATUS=The reload failed: liveupdated.toml is not valid" in daemon.heard("READY=1")

        _busctl(system_bus, contract.MANAGER, "Update", "a{sv}", "0")
        daemon.process.send_signal(signal.SIGTERM)
        daemon.heard("STOPPING=1")
        assert daemon.end() == (0, "stopped, job: none\n")


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_name_that_is_taken_is_told_and_ends_it(
    system_bus: PrivateBus, tmp_path: Path, library: str
) -> None:
    with (
        _daemon(system_bus, library, tmp_path) as first,
        _daemon(system_bus, library, tmp_path) as second,
    ):
        # Either may be first.
        while first.process.poll() is None and second.process.poll() is None:
            time.sleep(0.05)
        late = first if first.process.poll() is not None else second
        status, output = late.end()
        assert status == ServiceError.exit_code
        assert "the bus name org.liveupdate1 is taken" in output


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_end_of_the_bus_ends_it_with_an_error(tmp_path: Path, library: str) -> None:
    with contextlib.ExitStack() as stack:
        with private_bus(polkit=False) as bus:
            daemon = stack.enter_context(_daemon(bus, library, tmp_path))
            daemon.heard("READY=1")
        daemon.heard("STOPPING=1")
        status, output = daemon.end()
        assert status == Disconnected.exit_code
        assert "the message bus hung up" in output


def test_an_idle_daemon_wakes_up_for_the_watchdog_alone(
    system_bus: PrivateBus, tmp_path: Path
) -> None:
    with _daemon(system_bus, "dbus_next", tmp_path) as daemon:
        daemon.heard("READY=1")
        daemon.heard("WATCHDOG=1")

        def switches() -> int:
            status = Path(f"/proc/{daemon.process.pid}/status").read_text()
            return int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])

        before = switches()
        heard = 0
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            heard += daemon.notifications.recv(100) == b"WATCHDOG=1"
        # One sleep a beat; a second is lost where sending the notification had to wait.
        assert switches() - before <= 2 * (heard + 1)


def test_the_entry_point_imports_neither_the_settings_nor_the_coordinator() -> None:
    """They are heavy, and not for those who import the daemon's module."""
    code = "import sys, liveupdated.daemon; print('pydantic' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, check=False, capture_output=True, text=True
    )
    assert result.stdout == "False\n", result.stderr
