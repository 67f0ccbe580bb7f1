# SPDX-License-Identifier: LGPL-2.1-or-later
"""A client outside the machine: asks services all the time, and notes when each one answered."""

import selectors
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import TracebackType
from typing import Self

INTERVAL_S = 0.01
PATIENCE_S = 1.0
"""After which a question counts as not answered."""
WAITING, WAITING_EACH = 20, 2
"""Questions at a time, and of each service where there are many.  While the machine is away QEMU
keeps what is sent to it and delivers all of it to the new kernel at once: without a limit the
client itself would lengthen what it measures."""


@dataclass(frozen=True)
class Answer:
    """`at` is of this host's monotonic clock, in seconds."""

    at: float
    port: int
    text: str


@dataclass(frozen=True)
class Gap:
    """The longest time between two answers of one service: the last before it, the first after."""

    before: Answer
    after: Answer

    @property
    def seconds(self) -> float:
        return self.after.at - self.before.at


def longest_gap(answers: Sequence[Answer]) -> Gap:
    """Of the service that was away longest.  Raises ValueError without two answers of one."""
    of_ports: dict[int, list[Answer]] = {}
    for answer in answers:
        of_ports.setdefault(answer.port, []).append(answer)
    gaps = [Gap(*pair) for found in of_ports.values() for pair in pairwise(found)]
    return max(gaps, key=lambda gap: gap.seconds)


@dataclass
class Client:
    """Asks one service after the other, one every 10 ms, each time in a new connection; where many
    questions wait, as often as evenly goes."""

    ports: Sequence[int]
    _answers: list[Answer] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread = field(init=False)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def since(self, moment: float) -> list[Answer]:
        """What was answered after that moment, in order."""
        return [answer for answer in list(self._answers) if answer.at > moment]

    def wait_for_all(self, limit_s: float) -> dict[int, str]:
        """Wait until each service has answered once more; what it said, by its port.

        Raises TimeoutError.
        """
        start = time.monotonic()
        while True:
            said = {answer.port: answer.text for answer in self.since(start)}
            if len(said) == len(self.ports):
                return said
            if time.monotonic() > start + limit_s:
                silent = sorted(set(self.ports) - set(said))
                raise TimeoutError(f"ports {silent} do not answer within {limit_s:.0f} s")
            time.sleep(0.05)

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            waiting: dict[socket.socket, tuple[int, float]] = {}
            most = max(WAITING, WAITING_EACH * len(self.ports))
            turn, ask_at = 0, time.monotonic()
            while not self._ended.is_set():
                now = time.monotonic()
                for sock in [s for s, (_, asked) in waiting.items() if asked < now - PATIENCE_S]:
                    _forget(sock, selector, waiting)
                if now >= ask_at:
                    answers_come = len(waiting) < most / 4
                    ask_at = now + (INTERVAL_S if answers_come else PATIENCE_S / most)
                    if len(waiting) < most:
                        port = self.ports[turn % len(self.ports)]
                        turn += 1
                        sock = _ask(port)
                        selector.register(sock, selectors.EVENT_READ)
                        waiting[sock] = port, now
                for key, _ in selector.select(max(0, ask_at - time.monotonic())):
                    answered = key.fileobj
                    assert isinstance(answered, socket.socket)
                    text = _answer(answered)
                    if text:
                        port = waiting[answered][0]
                        self._answers.append(Answer(time.monotonic(), port, text))
                    _forget(answered, selector, waiting)
            for sock in list(waiting):
                _forget(sock, selector, waiting)


def _ask(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    sock.connect_ex(("127.0.0.1", port))
    return sock


def _answer(sock: socket.socket) -> str:
    try:
        return sock.recv(64).decode().strip()
    except OSError:
        return ""


def _forget(
    sock: socket.socket,
    selector: selectors.BaseSelector,
    waiting: dict[socket.socket, tuple[int, float]],
) -> None:
    selector.unregister(sock)
    del waiting[sock]
    sock.close()
