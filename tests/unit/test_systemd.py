# SPDX-License-Identifier: LGPL-2.1-or-later
"""A daemon-reload is shared by those who wait for one, and never by whom it may have missed; and
systemd is told things as long as it is there."""

import socket
import threading
from pathlib import Path

import pytest

from liveupdated import systemd
from liveupdated.errors import ServiceError


class _Systemctl:
    """systemctl(1) that takes as long as it is told."""

    def __init__(self) -> None:
        self.calls = 0
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self.fails = False

    def __call__(self, *words: str, timeout_s: float = 0) -> str:
        assert words == ("daemon-reload",)
        self.calls += 1
        self.begun.release()
        assert self.go_on.acquire(timeout=30)
        if self.fails:
            raise ServiceError("systemctl daemon-reload failed")
        return ""


class _Reloads(systemd._Reloads):
    """Tells how many came to the lock, and so have seen what runs."""

    def __init__(self) -> None:
        super().__init__()
        self._lock, self.lock = self.lock, self  # type: ignore[assignment]
        self.came = threading.Semaphore(0)

    def __enter__(self) -> None:
        self.came.release()
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()


@pytest.fixture
def systemctl(monkeypatch: pytest.MonkeyPatch) -> _Systemctl:
    stand_in = _Systemctl()
    monkeypatch.setattr(systemd, "systemctl", stand_in)
    monkeypatch.setattr(systemd, "_reloads", _Reloads())
    return stand_in


def test_who_asks_while_one_runs_shares_the_next(systemctl: _Systemctl) -> None:
    reloads = systemd._reloads
    assert isinstance(reloads, _Reloads)
    first = threading.Thread(target=systemd.reload)
    first.start()
    assert systemctl.begun.acquire(timeout=30)
    others = [threading.Thread(target=systemd.reload) for _ in range(5)]
    for thread in others:
        thread.start()
    for _ in (first, *others):
        assert reloads.came.acquire(timeout=30)
    systemctl.go_on.release()
    assert systemctl.begun.acquire(timeout=30), "what runs already may have missed their files"
    systemctl.go_on.release()
    for thread in (first, *others):
        thread.join(30)
    assert systemctl.calls == 2


def test_each_reload_in_turn_is_one(systemctl: _Systemctl) -> None:
    systemctl.go_on.release(2)
    systemd.reload()
    systemd.reload()
    assert systemctl.calls == 2


def test_one_that_fails_serves_nobody(systemctl: _Systemctl) -> None:
    systemctl.go_on.release(2)
    systemctl.fails = True
    with pytest.raises(ServiceError):
        systemd.reload()
    systemctl.fails = False
    systemd.reload()
    assert systemctl.calls == 2


def test_systemd_is_notified_while_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        systemd.notify("READY=1")
        assert manager.recv(100) == b"READY=1"
    # systemd-shutdown(8) has taken over: the socket's file is there, and nobody listens.
    systemd.notify("STOPPING=1")
