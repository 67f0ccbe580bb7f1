# SPDX-License-Identifier: LGPL-2.1-or-later
"""A client of the QEMU guest agent: the control channel into a machine.

The agent speaks JSON over a virtio-serial port (https://qemu.readthedocs.io, "QEMU Guest Agent
Protocol Reference").  The guest may leave the port at any moment, in the middle of a line too, so
each conversation is a new connection that begins with `guest-sync-delimited`.
"""

import json
import random
import socket
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHUNK = 256 * 1024

Call = Callable[..., Any]


class AgentAway(Exception):
    """Nobody answers on the port: the guest is between two boots, or hangs."""


class AgentLost(AgentAway):
    """The agent went away after a command was sent: nobody knows whether it was carried out."""


class AgentError(Exception):
    """The agent answered with an error."""


class Agent:
    """The agent behind QEMU's socket at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def conversation(self, timeout: float = 10) -> Iterator[Call]:
        """Yield `call(command, **arguments)`; names are written with `_` for `-`.

        `timeout` (seconds) limits the silence before each answer.  Raises AgentAway; `call`
        raises AgentLost and AgentError.
        """
        # A socket is closed only when its file is closed too, and QEMU serves one client at a time.
        with socket.socket(socket.AF_UNIX) as sock, sock.makefile("rb") as lines:
            sock.settimeout(timeout)
            try:
                sock.connect(str(self._path))
                _sync(sock, lines)
            except OSError as error:
                raise AgentAway(str(error) or type(error).__name__) from error

            def call(command: str, /, **arguments: object) -> Any:
                named = {name.replace("_", "-"): value for name, value in arguments.items()}
                try:
                    _send(sock, {"execute": command, "arguments": named})
                    answer = _receive(lines)
                except OSError as error:
                    raise AgentLost(str(error) or type(error).__name__) from error
                if "error" in answer:
                    raise AgentError(answer["error"].get("desc", str(answer)))
                return answer["return"]

            yield call

    def execute(self, argv: list[str], stdin: bytes | None = None) -> int:
        """Start a program in the guest; its pid."""
        arguments: dict[str, object] = {"path": argv[0], "arg": argv[1:], "capture_output": True}
        if stdin is not None:
            arguments["input_data"] = b64encode(stdin).decode()
        with self.conversation() as call:
            return int(call("guest-exec", **arguments)["pid"])

    def status(self, pid: int) -> tuple[int, bytes, bytes] | None:
        """Exit code (128 + n after signal n), stdout and stderr of `pid`; None while it runs."""
        with self.conversation() as call:
            told = call("guest-exec-status", pid=pid)
        if not told["exited"]:
            return None
        code = told["exitcode"] if "exitcode" in told else 128 + told.get("signal", 0)
        return code, b64decode(told.get("out-data", "")), b64decode(told.get("err-data", ""))

    def write(self, path: str, data: bytes) -> None:
        """Create or overwrite a file in the guest."""
        with self._open(path, "w") as (call, handle):
            for start in range(0, len(data), CHUNK):
                piece = b64encode(data[start : start + CHUNK]).decode()
                call("guest-file-write", handle=handle, buf_b64=piece)

    def read(self, path: str) -> bytes:
        """What is in a file of the guest."""
        data = b""
        with self._open(path, "r") as (call, handle):
            while True:
                told = call("guest-file-read", handle=handle, count=CHUNK)
                data += b64decode(told["buf-b64"])
                if told["eof"]:
                    return data

    @contextmanager
    def _open(self, path: str, mode: str) -> Iterator[tuple[Call, int]]:
        with self.conversation(timeout=60) as call:
            handle = call("guest-file-open", path=path, mode=mode)
            try:
                yield call, handle
            finally:
                call("guest-file-close", handle=handle)


def _send(sock: socket.socket, message: Mapping[str, object]) -> None:
    sock.sendall(json.dumps(message).encode() + b"\n")


def _receive(lines: Any) -> dict[str, Any]:
    line = lines.readline()
    if not line:
        raise ConnectionError("QEMU closed the port")
    answer: dict[str, Any] = json.loads(line)
    return answer


def _sync(sock: socket.socket, lines: Any) -> None:
    """Throw away what earlier conversations left in the pipe."""
    number = random.randrange(1, 2**31)  # noqa: S311
    # 0xff makes the agent's parser drop half a command that it may still hold
    sock.sendall(b"\xff")
    _send(sock, {"execute": "guest-sync-delimited", "arguments": {"id": number}})
    limit = time.monotonic() + (sock.gettimeout() or 10)
    while time.monotonic() < limit:
        line = lines.readline()
        if not line:
            raise ConnectionError("QEMU closed the port")
        try:
            answer = json.loads(line.rpartition(b"\xff")[2])
        except ValueError:
            continue
        if answer.get("return") == number:
            return
    raise TimeoutError("the agent does not sync")
