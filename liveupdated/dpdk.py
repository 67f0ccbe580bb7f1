# SPDX-License-Identifier: LGPL-2.1-or-later
"""DPDK applications, found and asked by their telemetry socket.

The protocol is in DPDK's guide (howto/telemetry.rst): a SOCK_SEQPACKET socket that greets with who
it is, and answers each command with one JSON object that has the command's name for its key.
Standard library only: used on the restore path.
"""

import json
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from liveupdated.errors import ServiceError
from liveupdated.session import Json

SOCKETS = Path("/proc/net/unix")
SOCKET_NAME = "dpdk_telemetry.v2"
"""In the runtime folder of the application; further processes with that folder add `:1` and so on
(telemetry.c of DPDK)."""
ROOTS_FOLDERS = ("/run/dpdk", "/var/run/dpdk")
LISTENING, SEQPACKET = "00010000", "0005"
"""As /proc/net/unix has them (unix_seq_show() of the kernel, linux/net.h)."""
LIMIT_S = 5.0
GREETING_BYTES = 4096


class Telemetry:
    """A conversation with one application; `with` ends it.

    Raises ServiceError when it does not answer.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        self._socket.settimeout(LIMIT_S)
        try:
            self._socket.connect(path)
            credentials = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        except OSError as error:
            self._socket.close()
            raise ServiceError(f"{path} cannot be connected to", str(error)) from error
        self.pid: int = struct.unpack("3i", credentials)[0]
        """By the kernel's word (unix(7)), in our pid namespace; 0 when it is not in it."""
        self._limit = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()

    def ask(self, command: str) -> Json:
        """The answer; None when there is none, or the application does not know the command."""
        if not self._limit:
            self._limit = int(self._receive(GREETING_BYTES)["max_output_len"])
        try:
            self._socket.send(command.encode())
        except OSError as error:
            raise ServiceError(f"{self._path} does not answer", str(error)) from error
        return self._receive(self._limit).get(command.partition(",")[0])

    def _receive(self, limit: int) -> dict[str, Json]:
        try:
            answer = json.loads(self._socket.recv(limit))
        except (OSError, ValueError) as error:
            raise ServiceError(f"{self._path} does not answer", str(error)) from error
        if not isinstance(answer, dict):
            raise ServiceError(f"{self._path} does not talk DPDK's telemetry")
        return answer


@dataclass(frozen=True)
class Application:
    """A process with a telemetry socket."""

    pid: int
    socket: str
    answers: bool

    @property
    def folder(self) -> str:
        """Its runtime folder, which the processes of one application share."""
        return os.path.dirname(self.socket)

    @property
    def name(self) -> str:
        """Its --file-prefix; where it runs as somebody else than root, the runtime folder."""
        above, prefix = os.path.split(self.folder)
        number = os.path.basename(self.socket).removeprefix(SOCKET_NAME)
        return (prefix if above in ROOTS_FOLDERS else self.folder) + number


def applications() -> list[Application]:
    """Every one on this host; those in containers are their containers' business."""
    found = []
    for path in sorted(_sockets()):
        try:
            with Telemetry(path) as telemetry:
                if not _is_ours(telemetry.pid):
                    continue
                try:
                    answers = telemetry.ask("/info") is not None
                except ServiceError:
                    answers = False
                found.append(Application(telemetry.pid, path, answers))
        except (ServiceError, OSError):  # gone, or in another mount namespace
            continue
    return found


def _is_ours(pid: int) -> bool:
    """Whether its innermost pid namespace is our own (NSpid of proc_pid_status(5)).

    The restore worker must not read /proc/PID/ns.
    """
    lines = Path(f"/proc/{pid}/status").read_text().splitlines() if pid else []
    return any(line.startswith("NSpid:") and len(line.split()) == 2 for line in lines)


def _sockets() -> Iterator[str]:
    for line in SOCKETS.read_text().splitlines()[1:]:
        fields = line.split(maxsplit=7)
        if len(fields) == 8 and fields[3] == LISTENING and fields[4] == SEQPACKET:
            name = os.path.basename(fields[7])
            if name == SOCKET_NAME or name.startswith(f"{SOCKET_NAME}:"):
                yield fields[7]


@dataclass(frozen=True)
class Port:
    """An Ethernet device of an application."""

    name: str
    received: int
    sent: int


@dataclass(frozen=True)
class Look:
    """What an application says of itself."""

    eal: list[str]
    """The arguments of its EAL, the program's name first."""
    arguments: list[str]
    """Its own."""
    ports: list[Port]
    buffers: int
    """Packet buffers that are not in their pools: in rings and queues, or in its hands."""


def look_from_json(data: Json) -> Look:
    """What `dataclasses.asdict` made of one."""
    return Look(**{**data, "ports": [Port(**port) for port in data["ports"]]})


def look(path: str) -> Look:
    """Ask the application behind the socket.  Raises ServiceError."""
    with Telemetry(path) as telemetry:
        return Look(
            eal=telemetry.ask("/eal/params") or [],
            arguments=telemetry.ask("/eal/app_params") or [],
            ports=[_port(telemetry, port) for port in telemetry.ask("/ethdev/list") or []],
            buffers=sum(_buffers(telemetry, name) for name in telemetry.ask("/mempool/list") or []),
        )


def _port(telemetry: Telemetry, number: int) -> Port:
    info = telemetry.ask(f"/ethdev/info,{number}") or {}
    stats = telemetry.ask(f"/ethdev/stats,{number}") or {}
    return Port(str(info.get("name", number)), stats.get("ipackets", 0), stats.get("opackets", 0))


def _buffers(telemetry: Telemetry, pool: str) -> int:
    info: dict[str, int] = telemetry.ask(f"/mempool/info,{pool}") or {}
    free = info.get("total_cache_count", 0) + info.get("common_pool_count", 0)
    return max(0, info.get("populated_size", 0) - free)
