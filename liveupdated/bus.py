# SPDX-License-Identifier: LGPL-2.1-or-later
"""A connection to the message bus: calls, signals, and objects exported by their interface's XML.

The only file that imports the D-Bus library, and as a mere transport: dbus-next, or its maintained
fork dbus-fast (dbus-next 0.2.3 cannot be imported by Python 3.15).  Dispatch is our own, because a
daemon that runs as root must not have what theirs has:

* the task of a handler is not held, so it can be garbage-collected and the caller waits for ever;
* an unexpected exception is answered with a traceback;
* a call on a connection that is gone never returns;
* descriptors that somebody attaches to a message stay open;
* InterfacesAdded and InterfacesRemoved come from the object instead of its object manager;
* a wrong signature, object or interface is answered UnknownMethod;
* introspection has neither documentation nor names of arguments;
* a bus that hangs up during authentication makes an endless loop (dbus-next);
* a socket that is full for a moment ends the connection (both, seen with a thousand signals).
"""

import asyncio
import contextlib
import importlib
import logging
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from liveupdated import contract
from liveupdated.contract import StandardError, Variant
from liveupdated.errors import Disconnected, LiveUpdateError, ServiceError, by_dbus_name
from liveupdated.exports import Call, Exports

log = logging.getLogger(__name__)

CONNECT_S = 10.0
CALL_S = 25.0
"""The habit of every D-Bus library."""

_BUS = "org.freedesktop.DBus"
_BUS_PATH = "/org/freedesktop/DBus"
_DO_NOT_QUEUE = 4
_PRIMARY_OWNER = 1
_NO_REPLY_EXPECTED = 1
_NO_AUTO_START = 2
_ALLOW_INTERACTIVE = 4
_GONE = {f"{_BUS}.Error.{n}" for n in ("ServiceUnknown", "NameHasNoOwner", "NoReply", "NoServer")}


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


_lib, _aio = _import_library()
_CALL, _RETURN, _ERROR, _SIGNAL = (
    _lib.MessageType.METHOD_CALL,
    _lib.MessageType.METHOD_RETURN,
    _lib.MessageType.ERROR,
    _lib.MessageType.SIGNAL,
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


class RemoteError(ServiceError):
    """Somebody else's service answered with an error."""

    def __init__(self, what: str, why: str, remote_name: str) -> None:
        super().__init__(what, why)
        self.remote_name = remote_name
        """As ``org.freedesktop.systemd1.NoSuchUnit``."""


@dataclass(frozen=True)
class Signal:
    """A signal that came in."""

    path: str
    interface: str
    member: str
    args: list[Any]


@dataclass(frozen=True)
class _Rule:
    sender: str
    path: str
    interface: str
    member: str
    callback: Callable[[Signal], None]

    def text(self) -> str:
        fields = {
            "type": "signal",
            "sender": self.sender,
            "path": self.path,
            "interface": self.interface,
            "member": self.member,
        }
        return ",".join(f"{key}='{value}'" for key, value in fields.items() if value)

    def fits(self, signal: Signal) -> bool:
        return (
            self.member == signal.member
            and self.interface == signal.interface
            and self.path in ("", signal.path)
        )


class Bus(Exports):
    """One connection.  Made by `connect`; ended by `close` or by the bus, see `disconnected`."""

    def __init__(self, transport: Any) -> None:
        super().__init__()
        self._transport = transport
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._rules: list[_Rule] = []
        self._owners: dict[str, str] = {}
        self.disconnected: asyncio.Future[None] = asyncio.ensure_future(self._watch_connection())
        """Done when the connection is gone, whoever ended it."""
        transport.add_message_handler(self._on_message)

    @classmethod
    async def connect(cls, address: str | None = None) -> "Bus":
        """Connect to the bus at `address`, or to the system bus.  Raises Disconnected."""
        try:
            transport = _Transport(
                bus_address=address, bus_type=_lib.BusType.SYSTEM, negotiate_unix_fd=True
            )
            await asyncio.wait_for(transport.connect(), CONNECT_S)
            transport._writer.sock = _PatientSocket(transport._writer.sock)
        except Exception as error:  # OSError, EOFError, AuthError, InvalidAddressError...
            raise Disconnected(
                "the message bus cannot be reached", str(error) or type(error).__name__
            ) from error
        return cls(transport)

    @property
    def unique_name(self) -> str:
        return str(self._transport.unique_name)

    @property
    def connected(self) -> bool:
        return bool(self._transport.connected)

    async def close(self) -> None:
        """End the handlers, send what is left, hang up."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self.connected:
            with contextlib.suppress(ServiceError):
                await self.call(_BUS, _BUS_PATH, _BUS, "GetId", timeout=1.0)
            self._transport.disconnect()
        await self.disconnected

    async def _watch_connection(self) -> None:
        try:
            await self._transport.wait_for_disconnect()
        except Exception as error:  # how it ended is told by the bus's own log
            log.debug("the connection to the bus ended: %r", error)
        for future in self._pending.values():
            if not future.done():
                future.set_exception(Disconnected("the message bus hung up"))

    # --- what we ask of others ---

    async def call(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        *args: Any,
        timeout: float | None = CALL_S,
        interactive: bool = False,
        activate: bool = True,
    ) -> list[Any]:
        """Call a method; returns the reply's values, variants unwrapped, descriptors as numbers.

        A descriptor among them is the caller's to close.  `timeout` in seconds, None for no limit.
        Without `activate` the bus does not start a service that is not there.
        Raises Disconnected when the bus or the callee is not there, ServiceError when it does not
        answer in time, the error itself when it is one of ours, RemoteError for any other.
        """
        message = _lib.Message(
            destination=destination,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=[_wire(arg) for arg in args],
            flags=_lib.MessageFlag(
                (_ALLOW_INTERACTIVE if interactive else 0) | (0 if activate else _NO_AUTO_START)
            ),
            serial=self._transport.next_serial(),
        )
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending[message.serial] = future
        try:
            self._send(message)
            reply = await asyncio.wait_for(future, timeout)
        except TimeoutError as error:
            raise ServiceError(
                f"{destination} did not answer {member}", f"waited {timeout:g} s"
            ) from error
        finally:
            del self._pending[message.serial]
        if reply.message_type == _ERROR:
            _close(reply.unix_fds)
            raise _remote_error(destination, member, reply)
        return _received(reply)

    async def subscribe(
        self,
        sender: str,
        path: str,
        interface: str,
        member: str,
        callback: Callable[[Signal], None],
    ) -> Callable[[], Awaitable[None]]:
        """Hear a signal of `sender`, of every object when `path` is empty.

        Only what `sender`'s owner itself sent is passed on: any process may send anybody a signal.
        Returns what ends the subscription.
        """
        rule = _Rule(sender, path, interface, member, callback)
        if not sender.startswith(":") and sender not in self._owners:
            self._owners[sender] = ""
            await self._match("AddMatch", _owner_rule(sender))
            with contextlib.suppress(Disconnected):  # not there yet; the rule tells when it is
                [owner] = await self.call(_BUS, _BUS_PATH, _BUS, "GetNameOwner", "s", sender)
                self._owners[sender] = owner
        self._rules.append(rule)
        await self._match("AddMatch", rule.text())

        async def unsubscribe() -> None:
            self._rules.remove(rule)
            if self.connected:
                await self._match("RemoveMatch", rule.text())

        return unsubscribe

    async def _match(self, method: str, rule: str) -> None:
        await self.call(_BUS, _BUS_PATH, _BUS, method, "s", rule)

    async def request_name(self, name: str) -> None:
        """Own `name`, or raise ServiceError.  From here on objects are announced as they come."""
        [answer] = await self.call(_BUS, _BUS_PATH, _BUS, "RequestName", "su", name, _DO_NOT_QUEUE)
        if answer != _PRIMARY_OWNER:
            raise ServiceError(
                f"the bus name {name} is taken",
                "another process owns it",
                f"see busctl status {name}",
            )
        self.announce = True

    # --- the wire ---

    def send_signal(
        self, path: str, interface: str, member: str, signature: str, body: list[Any]
    ) -> None:
        message = _lib.Message(
            message_type=_SIGNAL,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=[_wire(arg) for arg in body],
        )
        # Nobody waits for a signal: a bus that is gone is noticed by `disconnected`.
        with contextlib.suppress(Disconnected):
            self._send(message)

    def _send(self, message: Any) -> asyncio.Future[Any]:
        # A library that is not connected writes to a descriptor that may be somebody else's now.
        if not self.connected:
            raise Disconnected("the message bus hung up")
        sent: asyncio.Future[Any] = self._transport.send(message)
        sent.add_done_callback(lambda future: future.cancelled() or future.exception())
        return sent

    def _on_message(self, message: Any) -> bool:
        kind = message.message_type
        if kind in (_RETURN, _ERROR):
            # The callee's: dbus-daemon and dbus-broker pass no reply that was not asked for.
            future = self._pending.get(message.reply_serial)
            if future is None or future.done():
                _close(message.unix_fds)
                return False  # Hello, or one that comes too late
            future.set_result(message)
            return True
        # None of our methods takes a descriptor, nor do the signals we hear.
        _close(message.unix_fds)
        if kind == _SIGNAL:
            self._on_signal(message)
            return False
        task = asyncio.ensure_future(self._answer(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    def _on_signal(self, message: Any) -> None:
        signal = Signal(message.path, message.interface, message.member, _plain(message.body))
        if message.sender == _BUS and signal.member == "NameOwnerChanged":
            name, _, owner = signal.args
            if name in self._owners:
                self._owners[name] = owner
        for rule in list(self._rules):
            genuine = message.sender in (rule.sender, self._owners.get(rule.sender))
            if genuine and rule.fits(signal):
                try:
                    rule.callback(signal)
                except Exception:  # one listener's fault is not the others'
                    log.exception("handling the signal %s failed", signal.member)

    async def _answer(self, message: Any) -> None:
        call = Call(
            sender=message.sender or "",
            interactive=bool(message.flags.value & _ALLOW_INTERACTIVE),
            path=message.path,
            interface=message.interface or "",
            member=message.member,
        )
        fds: list[int] = []
        try:
            signature, body = await self.dispatch(call, message.signature, _typed(message.body))
            body, fds = _detach_fds(signature, body)
            await self._reply(message, signature, [_wire(value) for value in body], fds)
        except asyncio.CancelledError:
            await self._reply_error(message, f"{_BUS}.Error.NoReply", "the daemon ends")
            raise
        except Disconnected:
            log.debug("the caller of %s is gone", call.member)
        except Exception as error:
            name, text = error_on_the_wire(error, call.member)
            await self._reply_error(message, name, text)
        finally:
            _close(fds)

    async def _reply(self, message: Any, signature: str, body: list[Any], fds: list[int]) -> None:
        if message.flags.value & _NO_REPLY_EXPECTED:
            return
        sent = self._send(
            _lib.Message(
                message_type=_RETURN,
                reply_serial=message.serial,
                destination=message.sender,
                signature=signature,
                body=body,
                unix_fds=fds,
            )
        )
        if fds:  # the library sends them later: they stay open until then
            await asyncio.wait([sent, self.disconnected], return_when=asyncio.FIRST_COMPLETED)

    async def _reply_error(self, message: Any, name: str, text: str) -> None:
        if message.flags.value & _NO_REPLY_EXPECTED:
            return
        with contextlib.suppress(Disconnected):
            self._send(
                _lib.Message(
                    message_type=_ERROR,
                    reply_serial=message.serial,
                    destination=message.sender,
                    error_name=name,
                    signature="s",
                    body=[_wire(text)],
                )
            )


def error_on_the_wire(error: Exception, member: str) -> tuple[str, str]:
    """Name and sentence of `error` as a caller sees it: the one place where errors are mapped."""
    if isinstance(error, StandardError):
        return f"{_BUS}.Error.{error.name}", str(error)
    if isinstance(error, LiveUpdateError):
        return contract.ERRORS + error.dbus_name, str(error)
    # What nobody foresaw: all of it to the journal, none of it to the caller.
    log.error("the call of %s failed unexpectedly", member, exc_info=error)
    return f"{contract.ERRORS}Failed", f"{member} failed unexpectedly (the journal has the details)"


def _remote_error(destination: str, member: str, reply: Any) -> LiveUpdateError:
    name = str(reply.error_name)
    text = str(reply.body[0]) if reply.body else name
    if name.startswith(contract.ERRORS):
        return by_dbus_name(name.removeprefix(contract.ERRORS))(text)
    if name in _GONE:
        return Disconnected(f"{destination} is not there for {member}", text)
    return RemoteError(f"{destination} refused {member}", text, name)


def _owner_rule(name: str) -> str:
    return (
        f"type='signal',sender='{_BUS}',interface='{_BUS}',member='NameOwnerChanged',arg0='{name}'"
    )


def _wire(value: Any) -> Any:
    """`value` as the library wants it, and as no bus hangs up on us for."""
    if isinstance(value, str):
        if value.isascii() and "\0" not in value:
            return value
        # Names of files and arguments of programs may be any bytes; a D-Bus string is UTF-8.
        return value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    if isinstance(value, Variant):
        return _lib.Variant(value.signature, _wire(value.value))
    if isinstance(value, dict):
        return {_wire(key): _wire(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_wire(item) for item in value]
    return value


def _plain(value: Any) -> Any:
    """`value` without the library's variants."""
    if isinstance(value, _lib.Variant):
        return _plain(value.value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):  # dbus-fast 5 has tuples for structs
        return [_plain(item) for item in value]
    return value


def _typed(value: Any) -> Any:
    """`value` with our variants in place of the library's; one within another loses its type."""
    if isinstance(value, _lib.Variant):
        return Variant(value.signature, _plain(value.value))
    if isinstance(value, dict):
        return {key: _typed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_typed(item) for item in value]
    return value


def _received(reply: Any) -> list[Any]:
    """The values of a reply, with descriptors in place of their numbers; others are closed."""
    fds = list(reply.unix_fds or [])
    values, used = [], set()
    for kind, value in zip(reply.signature_tree.types, reply.body, strict=True):
        if kind.signature == "h" and value < len(fds):
            used.add(fds[value])
            values.append(fds[value])
        else:
            values.append(_plain(value))
    _close(set(fds) - used)
    return values


def _detach_fds(signature: str, body: list[Any]) -> tuple[list[Any], list[int]]:
    """`body` with numbers in place of descriptors, and those."""
    if "h" not in signature:
        return body, []
    kinds = [kind.signature for kind in _lib.signature.SignatureTree(signature).types]
    fds = [value for kind, value in zip(kinds, body, strict=True) if kind == "h"]
    numbers = iter(range(len(fds)))
    return [
        next(numbers) if kind == "h" else value for kind, value in zip(kinds, body, strict=True)
    ], fds


def _close(fds: Iterable[int] | None) -> None:
    for fd in set(fds or ()):  # the library lists one twice when several control messages came
        with contextlib.suppress(OSError):
            os.close(fd)
