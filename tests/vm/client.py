# SPDX-License-Identifier: LGPL-2.1-or-later
"""A client outside the machine, with one connection that must not break."""

import socket
import threading

from tests.vm.guest import JUMP_LIMIT_S


class Client:
    """Asks something all the time; `answer` is what comes then, with a number that goes up."""

    def __init__(
        self, port: int, question: bytes = b"INCR asked\r\n", answer: bytes = b":%d\r\n"
    ) -> None:
        self._question, self._answer = question, answer
        self.answers = 0
        self.error = ""
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.settimeout(JUMP_LIMIT_S)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        try:
            with self._socket, self._socket.makefile("rb") as answers:
                while not self._ended.wait(0.2):
                    self._socket.sendall(self._question)
                    said = answers.readline()
                    self.answers += 1
                    if said != self._answer % self.answers:
                        raise ValueError(f"{said!r} as the {self.answers}th answer")
        except (OSError, ValueError) as error:
            self.error = str(error) or type(error).__name__

    def end(self) -> None:
        self._ended.set()
        self._thread.join(JUMP_LIMIT_S)
