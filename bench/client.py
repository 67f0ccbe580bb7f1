# SPDX-License-Identifier: LGPL-2.1-or-later
"""The client outside the machine: asks each 10 ms, and knows how long nobody answered."""

import contextlib
import select
import socket
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

PERIOD_S = 0.01
RECENT_S = 2.0
"""An answer that proves that a service is there: fifty take their turns in half a second."""


class Client:
    """Asks the services behind these ports of 127.0.0.1 in turn, one datagram each PERIOD_S.

    A datagram that is lost is not sent again, so nobody's back-off is measured with it.
    """

    def __init__(self, ports: Sequence[int]) -> None:
        self._sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in ports]
        for sock, port in zip(self._sockets, ports, strict=True):
            sock.connect(("127.0.0.1", port))
            sock.setblocking(False)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.begin()

    def begin(self) -> None:
        """Forget what was; gaps count from now."""
        with self._lock:
            self._last = dict.fromkeys(self._sockets, time.monotonic())
            self._longest = dict.fromkeys(self._sockets, 0.0)

    def blackout(self) -> float:
        """The longest time in seconds that a service had been silent before it answered again."""
        with self._lock:
            return max(self._longest.values())

    def wait_back(self, silent_s: float, limit_s: float) -> float:
        """Wait until each service had been silent for `silent_s` and answers; the blackout."""
        end = time.monotonic() + limit_s
        while True:
            with self._lock:
                now = time.monotonic()
                back = all(
                    self._longest[sock] >= silent_s and now - self._last[sock] < RECENT_S
                    for sock in self._sockets
                )
            if back:
                return self.blackout()
            if now > end:
                raise TimeoutError(f"a service does not answer after {limit_s:.0f} s")
            time.sleep(0.2)

    def fill(self, mib: int, limit_s: float = 300) -> None:
        """Have each service take that much memory."""
        for sock in self._sockets:
            sock.send(b"fill %d" % mib)
        time.sleep(1)
        self.begin()
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            with self._lock:
                if all(self._longest[sock] > 0 for sock in self._sockets):
                    return
            time.sleep(0.2)
        raise TimeoutError("the services take too long to take their memory")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        for sock in self._sockets:
            sock.close()

    def _ask(self) -> None:
        turn = 0
        due = time.monotonic()
        while not self._over.is_set():
            with contextlib.suppress(OSError):  # nobody listens: that is what is measured
                self._sockets[turn % len(self._sockets)].send(b"%d" % turn)
            turn += 1
            due = max(due + PERIOD_S, time.monotonic())
            while (left := due - time.monotonic()) > 0:
                for sock in select.select(self._sockets, [], [], left)[0]:
                    self._hear(sock)

    def _hear(self, sock: socket.socket) -> None:
        try:
            sock.recv(64)
        except OSError:
            return
        with self._lock:
            now = time.monotonic()
            self._longest[sock] = max(self._longest[sock], now - self._last[sock])
            self._last[sock] = now
