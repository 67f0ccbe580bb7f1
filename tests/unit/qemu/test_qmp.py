# SPDX-License-Identifier: LGPL-2.1-or-later
"""The monitor of a real QEMU, and of what is none."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from liveupdated.errors import ServiceError
from liveupdated.qemu import qmp

from .conftest import Guest

Start = Callable[..., Guest]


def test_a_command_and_its_answer_among_events(start: Start) -> None:
    guest = start()
    with qmp.Monitor(str(guest.qmp), guest.pid) as monitor:
        assert monitor.version >= (7, 0)
        assert monitor.execute("query-status")["running"]
        monitor.execute("stop")  # comes with an event
        assert not monitor.execute("query-status")["running"]
        with pytest.raises(ServiceError, match=r"refuses no-such-thing.*not been found"):
            monitor.execute("no-such-thing")
        assert monitor.execute("query-name") == {"name": "small"}


def test_a_second_client_is_told_that_it_is_busy(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qmp, "GREETING_LIMIT_S", 2.0)
    second = tmp_path / "second"
    guest = start("-qmp", f"unix:{second},server=on,wait=off")
    guest.until(second.exists)
    with qmp.Monitor(str(guest.qmp), guest.pid):
        with pytest.raises(ServiceError, match=r"qmp is busy.*\(give QEMU a second -qmp"):
            qmp.Monitor(str(guest.qmp), guest.pid)
        with qmp.first_free([str(guest.qmp), str(second)], guest.pid) as other:
            assert other.execute("query-status")["running"]
    with qmp.Monitor(str(guest.qmp), guest.pid) as free_again:
        assert free_again.execute("query-status")["running"]


def test_a_stranger_on_the_socket_gets_nothing(tmp_path: Path) -> None:
    path = tmp_path / "qmp"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        with pytest.raises(ServiceError, match=f"process {os.getpid()} listens there"):
            qmp.Monitor(str(path), 1)


def test_no_socket_at_all(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="gone does not answer"):
        qmp.first_free([str(tmp_path / "gone")], 1)
    with pytest.raises(ServiceError, match="-qmp unix:PATH"):
        qmp.first_free([], 1)
