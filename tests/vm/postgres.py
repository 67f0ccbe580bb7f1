# SPDX-License-Identifier: LGPL-2.1-or-later
"""A client of PostgreSQL on a plain socket: the simple query protocol, version 3 (its manual,
"Frontend/Backend Protocol"), for a server that trusts us."""

import socket
import struct

PROTOCOL = 3 << 16


class Session:
    """One connection, and what is open in it: a transaction, for one."""

    def __init__(self, port: int, user: str, database: str, timeout: float) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout)
        words = f"user\0{user}\0database\0{database}\0\0".encode()
        self._socket.sendall(struct.pack("!II", 8 + len(words), PROTOCOL) + words)
        self._read_until_ready()

    def ask(self, query: str) -> list[str]:
        """Run the query; the first column of its rows."""
        words = query.encode() + b"\0"
        self._socket.sendall(b"Q" + struct.pack("!I", 4 + len(words)) + words)
        return self._read_until_ready()

    def close(self) -> None:
        self._socket.close()

    def _read_until_ready(self) -> list[str]:
        rows = []
        while True:
            kind, body = self._message()
            if kind == b"E":
                fields = [part.decode() for part in body.split(b"\0")]
                raise AssertionError("; ".join(fields))
            if kind == b"D":
                [length] = struct.unpack_from("!i", body, 2)
                rows.append(body[6 : 6 + length].decode())
            if kind == b"Z":
                return rows

    def _message(self) -> tuple[bytes, bytes]:
        head = self._exactly(5)
        [length] = struct.unpack("!I", head[1:])
        return head[:1], self._exactly(length - 4)

    def _exactly(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            more = self._socket.recv(length - len(data))
            if not more:
                raise AssertionError("the server has closed the connection")
            data += more
        return data
