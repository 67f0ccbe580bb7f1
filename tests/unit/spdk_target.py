# SPDX-License-Identifier: LGPL-2.1-or-later
"""A stand-in for an SPDK target: the part of doc/jsonrpc.md that saving and loading needs.

`python3 -m tests.unit.spdk_target SOCKET [--wait-for-rpc]` runs it as a program.
"""

import json
import os
import socket
import sys
import threading
from typing import Any

SUBSYSTEMS = [
    {"subsystem": "iobuf", "depends_on": []},
    {"subsystem": "bdev", "depends_on": ["iobuf"]},
]
STARTUP = ("iobuf_set_options", "framework_start_init")
ALWAYS = ("rpc_get_methods", "spdk_get_version")
RUNTIME = ("framework_get_subsystems", "framework_get_config", "bdev_malloc_create")


class Target:
    """Its state, and the answers."""

    def __init__(self, *, waits: bool = False) -> None:
        self.started = not waits
        self.options = {"method": "iobuf_set_options", "params": {"small_pool_count": 8192}}
        self.bdevs: list[dict[str, Any]] = []

    def answer(self, method: str, params: dict[str, Any]) -> Any:
        """The result.  Raises LookupError or ValueError, which become errors."""
        if method not in self._allowed():
            raise LookupError(f"{method} is not found, or not allowed now")
        return getattr(self, f"_{method}")(**params)

    def _allowed(self) -> tuple[str, ...]:
        return (*ALWAYS, *(RUNTIME if self.started else STARTUP))

    def _rpc_get_methods(self, current: bool = False, include_aliases: bool = True) -> list[str]:
        return list(self._allowed() if current else (*ALWAYS, *STARTUP, *RUNTIME))

    def _spdk_get_version(self) -> dict[str, str]:
        return {"version": "SPDK stand-in"}

    def _framework_start_init(self) -> bool:
        self.started = True
        return True

    def _framework_get_subsystems(self) -> list[dict[str, Any]]:
        return SUBSYSTEMS

    def _framework_get_config(self, name: str, with_batches: bool = False) -> list[dict[str, Any]]:
        return [self.options] if name == "iobuf" else self.bdevs

    def _iobuf_set_options(self, **params: Any) -> bool:
        self.options = {"method": "iobuf_set_options", "params": params}
        return True

    def _bdev_malloc_create(self, **params: Any) -> str:
        call = {"method": "bdev_malloc_create", "params": params}
        if call in self.bdevs:
            raise ValueError(f"bdev {params['name']} is there already")
        self.bdevs.append(call)
        return str(params["name"])


def serve(target: Target, listener: socket.socket) -> None:
    """One connection after the other, until the listener is closed."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            _converse(target, connection)


def _converse(target: Target, connection: socket.socket) -> None:
    text = ""
    while data := connection.recv(65536):
        text += data.decode()
        try:
            request = json.loads(text)
        except ValueError:
            continue
        text = ""
        reply = {"jsonrpc": "2.0", "id": request["id"]}
        try:
            reply["result"] = target.answer(request["method"], request.get("params") or {})
        except (LookupError, ValueError) as error:
            reply["error"] = {"code": -32601, "message": str(error)}
        connection.sendall(json.dumps(reply).encode())


def listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen()
    return listener


def in_background(target: Target, path: str) -> socket.socket:
    """Serve in a thread, until what is returned is closed."""
    listener = listen(path)
    threading.Thread(target=serve, args=(target, listener), daemon=True).start()
    return listener


if __name__ == "__main__":
    if os.path.exists(sys.argv[1]):
        os.unlink(sys.argv[1])
    serve(Target(waits="--wait-for-rpc" in sys.argv), listen(sys.argv[1]))
