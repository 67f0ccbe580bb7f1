# SPDX-License-Identifier: LGPL-2.1-or-later
"""A client of QEMU's monitor protocol: one command, one answer, no threads.

The qemu.qmp library is asyncio, which costs more to import than a restore takes
(docs/decisions/0009-own-qmp-client.md).  The protocol is docs/interop/qmp-spec.rst of QEMU.
"""

import json
import os
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from liveupdated.errors import ServiceError
from liveupdated.session import Json

GREETING_LIMIT_S = 5.0
"""QEMU greets at once, unless another client has the socket."""
ANSWER_LIMIT_S = 60.0
LONGEST_LINE = 16 << 20
"""Bytes; the longest answers, lists of block nodes, are some thousands."""


class Monitor:
    """A connection to a QMP socket, in command mode.  Raises ServiceError when it cannot be had."""

    def __init__(self, path: str, pid: int) -> None:
        """Connect to `path`, which may be longer than a socket's name can be (unix(7)), and on
        which nobody but the process `pid` may listen."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(GREETING_LIMIT_S)
        self._lines = self._socket.makefile("rb")  # holds the socket open until it is closed too
        try:
            self._connect(path)
            if (listener := self._listener()) != pid:
                raise OSError(f"process {listener} listens there, not QEMU")
            greeting = self._read()["QMP"]
            self._socket.settimeout(ANSWER_LIMIT_S)
            self.execute("qmp_capabilities")
        except (TimeoutError, BlockingIOError) as error:
            self.close()
            raise ServiceError(
                f"its QMP socket {path} is busy",
                "another client is connected, and QEMU serves one at a time",
                "give QEMU a second -qmp socket, or end that client",
            ) from error
        except ServiceError:
            self.close()
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.close()
            raise ServiceError(f"its QMP socket {path} does not answer", str(error)) from error
        version = greeting["version"]["qemu"]
        self.version: tuple[int, int] = (version["major"], version["minor"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the next client have QEMU."""
        self._lines.close()
        self._socket.close()

    def execute(
        self, command: str, arguments: dict[str, Json] | None = None, fds: Sequence[int] = ()
    ) -> Json:
        """What QEMU returns for the command.  Raises ServiceError with QEMU's own words."""
        request = json.dumps({"execute": command, "arguments": arguments or {}}).encode() + b"\n"
        try:
            if fds:
                socket.send_fds(self._socket, [request], list(fds))
            else:
                self._socket.sendall(request)
            while True:
                answer = self._read()
                if "return" in answer:
                    return answer["return"]
                if "error" in answer:
                    raise ServiceError(f"QEMU refuses {command}", answer["error"]["desc"])
                # anything else is an event
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ServiceError(f"QEMU does not answer {command}", str(error)) from error

    def _connect(self, path: str) -> None:
        """Queue up; the queue has two places, where clients that gave up stand for a moment yet."""
        end = time.monotonic() + GREETING_LIMIT_S
        with _opened(path) as short:
            while True:
                try:
                    self._socket.connect(short)
                    return
                except BlockingIOError:
                    if time.monotonic() > end:
                        raise
                time.sleep(0.05)

    def _listener(self) -> int:
        """Who called listen(2) (SO_PEERCRED of unix(7))."""
        size = struct.calcsize("3i")
        peer = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        return int(struct.unpack("3i", peer)[0])

    def _read(self) -> dict[str, Json]:
        line = self._lines.readline(LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise OSError("it hung up")
        message: dict[str, Json] = json.loads(line)
        return message


@contextmanager
def _opened(path: str) -> Iterator[str]:
    """A short name for the socket at `path`."""
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def first_free(paths: Sequence[str], pid: int) -> Monitor:
    """A connection to the first of these sockets of `pid` that has no other client.

    Raises ServiceError, about the first of them.
    """
    failures: list[ServiceError] = []
    for path in paths:
        try:
            return Monitor(path, pid)
        except ServiceError as error:
            failures.append(error)
    if failures:
        raise failures[0]
    raise ServiceError("it has no QMP socket", "", "give QEMU -qmp unix:PATH,server=on,wait=off")
