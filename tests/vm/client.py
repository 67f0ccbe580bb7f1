# SPDX-License-Identifier: LGPL-2.1-or-later
"""A client of redis outside the machine."""

import socket
import threading

from tests.vm.guest import JUMP_LIMIT_S


class Client:
    """A client outside the machine, with one connection that is asked something all the time."""

    def __init__(self, port: int) -> None:
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
                    self._socket.sendall(b"INCR asked\r\n")
                    self.answers += 1
                    if answers.readline() != b":%d\r\n" % self.answers:
                        raise ValueError(f"another answer than the {self.answers}th")
        except (OSError, ValueError) as error:
            self.error = str(error) or type(error).__name__

    def end(self) -> None:
        self._ended.set()
        self._thread.join(JUMP_LIMIT_S)
