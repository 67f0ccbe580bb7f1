# SPDX-License-Identifier: LGPL-2.1-or-later
"""The D-Bus library, and the values of its messages as the rest of the project has them.

The only file that imports the library, and as a mere transport: dbus-next, or its maintained fork
dbus-fast (dbus-next 0.2.3 cannot be imported by Python 3.15).  Two of its faults are mended here:

* a bus that hangs up during authentication makes an endless loop (dbus-next);
* a socket that is full for a moment ends the connection (both, seen with a thousand signals).
"""

import contextlib
import importlib
import os
import socket
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from liveupdated.contract import Variant


def _import_library() -> tuple[Any, Any]:
    """The library and its asyncio part: the one `LIVEUPDATED_DBUS` names, or the one there is."""
    wanted = os.environ.get("LIVEUPDATED_DBUS", "")
    known = {"dbus_next": ["dbus_next"], "dbus_fast": ["dbus_fast"], "": ["dbus_next", "dbus_fast"]}
    failures = []
    for name in known.get(wanted, []):
        try:
            with _without_glib():
                return importlib.import_module(name), importlib.import_module(f"{name}.aio")
        except Exception as error:  # whatever a library does that is older than this Python
            failures.append(f"{name}: {error}")
    raise ImportError("no D-Bus library can be imported; " + "; ".join(failures or [wanted]))


@contextlib.contextmanager
def _without_glib() -> Iterator[None]:
    """dbus-next loads GLib wherever python3-gi is installed: 3 MiB and 10 ms, for nothing here."""
    if "gi" in sys.modules:
        yield
        return
    sys.modules["gi"] = None  # type: ignore[assignment]  # "there is none": see importlib
    try:
        yield
    finally:
        del sys.modules["gi"]


lib, _aio = _import_library()
CALL, RETURN, ERROR, SIGNAL = (
    lib.MessageType.METHOD_CALL,
    lib.MessageType.METHOD_RETURN,
    lib.MessageType.ERROR,
    lib.MessageType.SIGNAL,
)


_MessageBus: Any = _aio.MessageBus


class _Transport(_MessageBus):  # type: ignore[misc]
    async def _auth_readline(self) -> str:
        line = b""
        while not line.endswith(b"\r\n"):
            byte = await self._loop.sock_recv(self._sock, 1)
            if not byte:
                raise EOFError("the bus hung up during authentication")
            line += byte
        return line[:-2].decode()


class _PatientSocket:
    """A socket that takes nothing, instead of raising, while it is full.

    The library then waits until it is writable.  It hands over descriptors only once, so they are
    kept for the next attempt.
    """

    def __init__(self, inner: socket.socket) -> None:
        self._inner = inner
        self._kept: list[Any] = []

    def send(self, data: memoryview) -> int:
        return self.sendmsg([data], self._kept)

    def sendmsg(self, data: list[memoryview], ancillary: list[Any]) -> int:
        try:
            sent = self._inner.sendmsg(data, ancillary)
        except BlockingIOError:
            self._kept = ancillary
            return 0
        self._kept = []
        return sent


async def connect(address: str | None) -> Any:
    """The library's connection to the bus at `address`, or to the system bus.

    Raises whatever the library does.
    """
    transport = _Transport(bus_address=address, bus_type=lib.BusType.SYSTEM, negotiate_unix_fd=True)
    await transport.connect()
    transport._writer.sock = _PatientSocket(transport._writer.sock)
    return transport


def sendable(value: Any) -> Any:
    """`value` as the library wants it, and as no bus hangs up on us for."""
    if isinstance(value, str):
        if value.isascii() and "\0" not in value:
            return value
        # Names of files and arguments of programs may be any bytes; a D-Bus string is UTF-8.
        return value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    if isinstance(value, Variant):
        return lib.Variant(value.signature, sendable(value.value))
    if isinstance(value, dict):
        return {sendable(key): sendable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [sendable(item) for item in value]
    return value


def plain(value: Any) -> Any:
    """`value` without the library's variants."""
    if isinstance(value, lib.Variant):
        return plain(value.value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):  # dbus-fast 5 has tuples for structs
        return [plain(item) for item in value]
    return value


def typed(value: Any) -> Any:
    """`value` with our variants in place of the library's; one within another loses its type."""
    if isinstance(value, lib.Variant):
        return Variant(value.signature, plain(value.value))
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [typed(item) for item in value]
    return value


def received(reply: Any) -> list[Any]:
    """The values of a reply, with descriptors in place of their numbers; others are closed."""
    fds = list(reply.unix_fds or [])
    values, used = [], set()
    for kind, value in zip(reply.signature_tree.types, reply.body, strict=True):
        if kind.signature == "h" and value < len(fds):
            used.add(fds[value])
            values.append(fds[value])
        else:
            values.append(plain(value))
    close(set(fds) - used)
    return values


def detach_fds(signature: str, body: list[Any]) -> tuple[list[Any], list[int]]:
    """`body` with numbers in place of descriptors, and those."""
    if "h" not in signature:
        return body, []
    kinds = [kind.signature for kind in lib.signature.SignatureTree(signature).types]
    fds = [value for kind, value in zip(kinds, body, strict=True) if kind == "h"]
    numbers = iter(range(len(fds)))
    return [
        next(numbers) if kind == "h" else value for kind, value in zip(kinds, body, strict=True)
    ], fds


def close(fds: Iterable[int] | None) -> None:
    for fd in set(fds or ()):  # the library lists one twice when several control messages came
        with contextlib.suppress(OSError):
            os.close(fd)
