# SPDX-License-Identifier: LGPL-2.1-or-later
"""A connection to the message bus: calls, signals, and objects exported by their interface's XML.

Dispatch is our own, and the library a mere transport (`liveupdated.wire`), because a daemon that
runs as root must not have what theirs has:

* the task of a handler is not held, so it can be garbage-collected and the caller waits for ever;
* an unexpected exception is answered with a traceback;
* a call on a connection that is gone never returns;
* descriptors that somebody attaches to a message stay open;
* InterfacesAdded and InterfacesRemoved come from the object instead of its object manager;
* a wrong signature, object or interface is answered UnknownMethod;
* introspection has neither documentation nor names of arguments.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from liveupdated import contract, wire
from liveupdated.contract import StandardError
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
            transport = await asyncio.wait_for(wire.connect(address), CONNECT_S)
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
        message = wire.lib.Message(
            destination=destination,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=[wire.sendable(arg) for arg in args],
            flags=wire.lib.MessageFlag(
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
        if reply.message_type == wire.ERROR:
            wire.close(reply.unix_fds)
            raise _remote_error(destination, member, reply)
        return wire.received(reply)

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
        message = wire.lib.Message(
            message_type=wire.SIGNAL,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=[wire.sendable(arg) for arg in body],
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
        if kind in (wire.RETURN, wire.ERROR):
            # The callee's: dbus-daemon and dbus-broker pass no reply that was not asked for.
            future = self._pending.get(message.reply_serial)
            if future is None or future.done():
                wire.close(message.unix_fds)
                return False  # Hello, or one that comes too late
            future.set_result(message)
            return True
        # None of our methods takes a descriptor, nor do the signals we hear.
        wire.close(message.unix_fds)
        if kind == wire.SIGNAL:
            self._on_signal(message)
            return False
        task = asyncio.ensure_future(self._answer(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    def _on_signal(self, message: Any) -> None:
        signal = Signal(message.path, message.interface, message.member, wire.plain(message.body))
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
            signature, body = await self.dispatch(call, message.signature, wire.typed(message.body))
            body, fds = wire.detach_fds(signature, body)
            await self._reply(message, signature, [wire.sendable(value) for value in body], fds)
        except asyncio.CancelledError:
            await self._reply_error(message, f"{_BUS}.Error.NoReply", "the daemon ends")
            raise
        except Disconnected:
            log.debug("the caller of %s is gone", call.member)
        except Exception as error:
            name, text = error_on_the_wire(error, call.member)
            await self._reply_error(message, name, text)
        finally:
            wire.close(fds)

    async def _reply(self, message: Any, signature: str, body: list[Any], fds: list[int]) -> None:
        if message.flags.value & _NO_REPLY_EXPECTED:
            return
        sent = self._send(
            wire.lib.Message(
                message_type=wire.RETURN,
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
                wire.lib.Message(
                    message_type=wire.ERROR,
                    reply_serial=message.serial,
                    destination=message.sender,
                    error_name=name,
                    signature="s",
                    body=[wire.sendable(text)],
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
