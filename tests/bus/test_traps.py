# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the D-Bus libraries do wrong, and this project's adapter does not."""

import asyncio
import contextlib
import gc
import os
import socket
import struct
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from liveupdated import contract
from liveupdated.contract import Variant
from liveupdated.errors import Disconnected, ServiceError
from tests.bus.conftest import LIBRARIES, World
from tests.bus.fakes import make_kernel, make_workload
from tests.bus.private_bus import STRANGER, private_bus

ERROR = "org.freedesktop.DBus.Error."
OBJECT = f"{contract.ROOT}/kernel/_37_2e3_2e4"


def _copies(fd: int) -> int:
    """How many descriptors of this process are the pipe that `fd` is an end of."""
    pipe = os.readlink(f"/proc/self/fd/{fd}")
    found = 0
    for entry in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that lists them
            found += os.readlink(f"/proc/self/fd/{entry}") == pipe
    return found


# --- strong references to handlers ---


async def test_a_handler_that_nobody_else_holds_answers_after_garbage_collection(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited_for: list[weakref.ref[asyncio.Future[None]]] = []

    async def slow() -> list[Any]:
        # A future that only this frame knows: without a reference to the task, all of it is one
        # cycle of garbage.
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waited_for.append(weakref.ref(future))
        await future
        return world.backend.known_workloads

    monkeypatch.setattr(world.backend, "workloads", slow)
    call = asyncio.ensure_future(world.call("ListWorkloads"))
    while not waited_for:
        await asyncio.sleep(0.01)
    gc.collect()
    future = waited_for[0]()
    assert future is not None
    future.set_result(None)
    assert len((await call)[0]) == 2
    await world.settle()
    assert not world.server._tasks


# --- what a caller learns of an unexpected fault ---


async def test_an_unexpected_fault_tells_the_caller_nothing_and_the_journal_all(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.backend.fault = KeyError("/secret/path")
    name, text = await world.errors("ListWorkloads")
    assert text == "ListWorkloads failed unexpectedly (the journal has the details)"
    assert name == contract.ERRORS + "LiveUpdateError"
    assert "/secret/path" in caplog.text
    assert "Traceback" in caplog.text


async def test_a_value_that_does_not_fit_its_type_is_an_error_and_not_a_hang(world: World) -> None:
    world.backend.next_update_us = -1
    with pytest.raises(Exception, match="failed unexpectedly"):
        await world.get("NextUpdate")
    assert await world.get("State") == "idle"


async def test_a_name_that_is_not_utf8_or_has_a_nul_does_not_end_the_connection(
    world: World,
) -> None:
    world.backend.known_workloads = [make_workload("a\udcffb\0c")]
    [rows] = await world.call("ListWorkloads")
    assert rows[0][1]["Name"] == "a?b\ufffdc"


# --- a bus that is gone ---


async def test_calls_on_a_dead_bus_fail_at_once(library: dict[str, ModuleType]) -> None:
    bus_class = library["liveupdated.bus"].Bus
    with private_bus() as system:
        bus = await bus_class.connect(system.address)
        silent = _raw_connection(system.address)
        _own(silent, STRANGER)
        waiting = asyncio.ensure_future(bus.call(STRANGER, "/", "a.b", "C", timeout=None))
        await asyncio.sleep(0.1)
        assert not waiting.done()
    silent.close()
    await asyncio.wait_for(bus.disconnected, 5)
    with pytest.raises(Disconnected, match="hung up"):
        await asyncio.wait_for(waiting, 5)
    assert not bus.connected
    with pytest.raises(Disconnected, match="hung up"):
        await asyncio.wait_for(bus.call("a.b", "/", "a.b", "C", timeout=None), 1)
    bus.send_signal("/", "a.b", "C", "", [])  # nobody waits for it
    await bus.close()


async def test_a_callee_that_never_answers_is_given_up(world: World) -> None:
    silent = _raw_connection(world.system.address)
    _own(silent, STRANGER)
    with pytest.raises(ServiceError, match=r"did not answer C: waited 0\.1 s"):
        await world.client.call(STRANGER, "/", "a.b", "C", timeout=0.1)
    assert not world.client._pending
    silent.close()


async def test_a_bus_that_cannot_be_reached_says_so(
    library: dict[str, ModuleType], tmp_path: Path
) -> None:
    with pytest.raises(Disconnected, match="cannot be reached"):
        await library["liveupdated.bus"].Bus.connect(f"unix:path={tmp_path}/none")


async def test_a_bus_that_hangs_up_during_authentication_is_no_endless_loop(
    library: dict[str, ModuleType], tmp_path: Path
) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_unix_server(hang_up, tmp_path / "socket")
    with pytest.raises(Disconnected):
        connecting = library["liveupdated.bus"].Bus.connect(f"unix:path={tmp_path}/socket")
        await asyncio.wait_for(connecting, 5)
    server.close()


async def test_a_thousand_signals_at_once_do_not_end_the_connection(world: World) -> None:
    await world.watch("InterfacesAdded", "org.freedesktop.DBus.ObjectManager")
    world.backend.known_kernels = [make_kernel(f"7.3.{n}") for n in range(1000)]
    await world.call("ListKernels")
    await world.settle()
    assert world.server.connected
    assert len(world.signals) >= 999


# --- descriptors ---


async def test_descriptors_sent_to_us_are_closed(world: World) -> None:
    reader, writer = os.pipe()
    raw = _raw_connection(world.system.address)
    _hello(raw)
    for member in ("Stage", "NoSuchMethod", "Ping"):
        for _ in range(5):
            body = struct.pack("<I", 0)
            _send(raw, _message(1, member=member, signature="h", body=body, fds=1), [writer])
    await asyncio.sleep(0.2)
    await world.settle()
    assert _copies(writer) == 2
    os.close(reader)
    os.close(writer)
    raw.close()


async def test_descriptors_of_a_signal_and_of_a_late_reply_are_closed(world: World) -> None:
    reader, writer = os.pipe()
    raw = _raw_connection(world.system.address)
    _own(raw, STRANGER)
    with pytest.raises(ServiceError):
        await world.server.call(STRANGER, "/", "a.b", "C", timeout=0.05)
    body = struct.pack("<I", 0)
    late = _message(2, signature="h", body=body, fds=1, reply_to=_last_serial(world.server))
    late_to = _addressed(late, world.server.unique_name)
    _send(raw, late_to, [writer])
    signal = _message(4, member="S", signature="h", body=body, fds=1)
    _send(raw, _addressed(signal, world.server.unique_name), [writer])
    await asyncio.sleep(0.1)
    await world.settle()
    assert _copies(writer) == 2
    os.close(reader)
    os.close(writer)
    raw.close()


async def test_our_own_copy_of_a_returned_descriptor_is_closed(world: World) -> None:
    [fd] = await world.call("Inhibit", "sss", "who", "why", "delay")
    assert _copies(fd) == 2  # the daemon's reading end, and what the client holds
    os.close(fd)
    await world.settle()
    assert world.backend.inhibitors.held() == []


# --- forgery ---


async def test_a_signal_that_somebody_else_sends_is_not_believed(world: World) -> None:
    await world.watch("SessionFinished")
    raw = _raw_connection(world.system.address)
    _hello(raw)
    body = _string("/x") + _string("confirmed").rstrip(b"\0") + b"\0"
    forged = _message(4, member="SessionFinished", signature="os", body=body)
    _send(raw, _addressed(forged, world.client.unique_name))
    await asyncio.sleep(0.1)
    await world.settle()
    assert world.signals == []
    raw.close()


async def test_a_service_that_comes_later_is_believed_and_unsubscribing_ends_it(
    world: World,
) -> None:
    heard: list[Any] = []
    name = "org.freedesktop.PolicyKit1x"
    end = await world.client.subscribe(name, "", contract.MANAGER, "PrepareForUpdate", heard.append)
    world.client._owners[name] = ""  # as the bus would tell before it has an owner
    world.backend.listener.prepare_for_update(True)
    await world.settle()
    assert heard == []
    world.client._owners[name] = world.server.unique_name
    end2 = await world.client.subscribe(
        contract.NAME, "", contract.MANAGER, "PrepareForUpdate", heard.append
    )
    world.backend.listener.prepare_for_update(True)
    await world.settle()
    assert len(heard) == 2
    await end()
    await end2()
    world.backend.listener.prepare_for_update(True)
    await world.settle()
    assert len(heard) == 2


# --- what no library should die of ---


@pytest.mark.parametrize("kind", [1, 4, 5, 200])
@pytest.mark.parametrize("flags", [0, 7, 0xF8])
async def test_odd_messages_do_not_end_the_connection(world: World, kind: int, flags: int) -> None:
    raw = _raw_connection(world.system.address)
    _hello(raw)
    for big_endian in (False, True):
        message = _message(kind, member="Odd", flags=flags, big_endian=big_endian)
        _send(raw, _addressed(message, world.server.unique_name))
    await asyncio.sleep(0.05)
    raw.close()
    assert await world.get("State") == "idle"
    assert world.server.connected


async def test_deeply_nested_values_do_not_end_the_connection(world: World) -> None:
    value: Any = Variant("s", "x")
    for _ in range(20):
        value = Variant("v", value)
    with pytest.raises(Exception, match="has type 's'"):
        await world.call("Update", "a{sv}", {"kernel": value})


# --- the right names of errors ---


PROPERTIES = "org.freedesktop.DBus.Properties"


@pytest.mark.parametrize(
    ("error", "path", "member", "signature", "args"),
    [
        ("InvalidArgs", contract.ROOT, f"{contract.MANAGER}.Stage", "s", ["x"]),
        ("UnknownMethod", contract.ROOT, f"{contract.MANAGER}.Nothing", "", []),
        ("UnknownInterface", contract.ROOT, "a.b.Stage", "", []),
        ("UnknownObject", "/nowhere", f"{contract.MANAGER}.ListKernels", "", []),
        ("UnknownObject", "/nowhere", "org.freedesktop.DBus.Introspectable.Introspect", "", []),
        ("UnknownProperty", OBJECT, f"{PROPERTIES}.Get", "ss", ["", "X"]),
        ("UnknownInterface", OBJECT, f"{PROPERTIES}.Get", "ss", ["a.b", "X"]),
        ("InvalidArgs", OBJECT, f"{PROPERTIES}.Get", "s", ["x"]),
        ("UnknownInterface", OBJECT, f"{PROPERTIES}.GetAll", "s", ["a.b"]),
        ("UnknownMethod", OBJECT, f"{PROPERTIES}.Take", "", []),
        (
            "PropertyReadOnly",
            OBJECT,
            f"{PROPERTIES}.Set",
            "ssv",
            ["", "Staged", Variant("b", True)],
        ),
        ("UnknownProperty", OBJECT, f"{PROPERTIES}.Set", "ssv", ["", "X", Variant("b", True)]),
        (
            "UnknownInterface",
            OBJECT,
            "org.freedesktop.DBus.ObjectManager.GetManagedObjects",
            "",
            [],
        ),
    ],
)
async def test_a_call_that_cannot_be_is_answered_with_the_standard_error(  # noqa: PLR0917
    world: World, error: str, path: str, member: str, signature: str, args: list[Any]
) -> None:
    interface, _, name = member.rpartition(".")
    remote_error = world.modules["liveupdated.bus"].RemoteError
    with pytest.raises(remote_error) as caught:
        await world.client.call(contract.NAME, path, interface, name, signature, *args)
    assert caught.value.remote_name == ERROR + error


async def test_the_standard_interfaces(world: World) -> None:
    peer = "org.freedesktop.DBus.Peer"
    assert await world.client.call(contract.NAME, "/any", peer, "Ping") == []
    [machine] = await world.client.call(contract.NAME, "/any", peer, "GetMachineId")
    assert machine == Path("/etc/machine-id").read_text().strip()
    properties = "org.freedesktop.DBus.Properties"
    [release] = await world.client.call(
        contract.NAME, OBJECT, properties, "Get", "ss", "", "Release"
    )
    assert release == "7.3.4"
    [nothing] = await world.client.call(contract.NAME, OBJECT, properties, "GetAll", "s", peer)
    assert nothing == {}
    [all_of_it] = await world.client.call(contract.NAME, OBJECT, properties, "GetAll", "s", "")
    assert all_of_it["Release"] == "7.3.4"


# --- the library itself ---


def test_both_libraries_are_tested(library: dict[str, ModuleType]) -> None:
    name = library["liveupdated.bus"]._lib.__name__
    assert name in LIBRARIES
    assert library["liveupdated.bus"]._aio.__name__ == f"{name}.aio"


def test_an_implementation_that_lacks_a_member_is_not_exported(
    library: dict[str, ModuleType],
) -> None:
    class Half:
        id = "x"

    base = library["liveupdated.bus"].Exports
    exports = type("Silent", (base,), {"send_signal": lambda *_: None})()
    with pytest.raises(AttributeError):
        exports.export("/x", contract.KERNEL, Half())
    assert exports.objects == {}


# --- a connection without a library: for what libraries do not do ---


@pytest.fixture(autouse=True)
async def _no_fault_of_ours_in_the_log(
    caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> AsyncIterator[None]:
    yield
    if "unexpected" not in request.node.name and "does_not_fit" not in request.node.name:
        assert "failed unexpectedly" not in caplog.text


def _raw_connection(address: str) -> socket.socket:
    raw = socket.socket(socket.AF_UNIX)
    raw.connect(address.removeprefix("unix:path="))
    raw.settimeout(5)
    uid = str(os.getuid()).encode().hex()
    raw.sendall(b"\0AUTH EXTERNAL " + uid.encode() + b"\r\n")
    raw.recv(200)
    raw.sendall(b"NEGOTIATE_UNIX_FD\r\n")
    raw.recv(200)
    raw.sendall(b"BEGIN\r\n")
    return raw


def _hello(raw: socket.socket) -> str:
    """Say hello; returns the unique name."""
    bus = "org.freedesktop.DBus"
    hello = _message(1, member="Hello", interface=bus, path="/org/freedesktop/DBus")
    _send(raw, _addressed(hello, bus))
    answer = b""
    while b":1." not in answer:
        answer += raw.recv(4096)
    start = answer.index(b":1.")
    return answer[start : answer.index(b"\0", start)].decode()


def _own(raw: socket.socket, name: str) -> None:
    """Say hello, and own `name`."""
    _hello(raw)
    bus = "org.freedesktop.DBus"
    body = _string(name) + struct.pack("<I", 0)
    request = _message(
        1,
        member="RequestName",
        interface=bus,
        path="/org/freedesktop/DBus",
        signature="su",
        body=body,
        flags=0,
    )
    _send(raw, _addressed(request, bus))
    answer = b""
    while b"NameAcquired" not in answer or name.encode() not in answer:
        answer += raw.recv(4096)


_serials = iter(range(1, 1 << 30))


def _string(text: str) -> bytes:
    data = struct.pack("<I", len(text)) + text.encode() + b"\0"
    return data + b"\0" * (-len(data) % 4)


def _message(
    kind: int,
    *,
    member: str = "",
    signature: str = "",
    body: bytes = b"",
    fds: int = 0,
    reply_to: int = 0,
    flags: int = 1,
    interface: str = contract.MANAGER,
    path: str = contract.ROOT,
    big_endian: bool = False,
) -> dict[str, Any]:
    """The parts of a message; `_addressed` makes bytes of them."""
    fields: list[tuple[int, str, Any]] = []
    if member:
        fields += [(1, "o", path), (2, "s", interface), (3, "s", member)]
    if reply_to:
        fields.append((5, "u", reply_to))
    if signature:
        fields.append((8, "g", signature))
    if fds:
        fields.append((9, "u", fds))
    return {"kind": kind, "flags": flags, "fields": fields, "body": body, "big": big_endian}


def _addressed(message: dict[str, Any], to: str) -> bytes:
    order = ">" if message["big"] else "<"
    fields = b""
    for code, kind, value in [*message["fields"], (6, "s", to)]:
        fields += b"\0" * (-len(fields) % 8) + bytes([code, 1]) + kind.encode() + b"\0"
        if kind == "u":
            fields += struct.pack(order + "I", value)
        elif kind == "g":
            fields += bytes([len(value)]) + value.encode() + b"\0"
        else:
            fields += struct.pack(order + "I", len(value)) + value.encode() + b"\0"
    head = (b"B" if message["big"] else b"l") + bytes([message["kind"], message["flags"], 1])
    head += struct.pack(order + "III", len(message["body"]), next(_serials), len(fields))
    return head + fields + b"\0" * (-len(fields) % 8) + bytes(message["body"])


def _send(
    raw: socket.socket, message: dict[str, Any] | bytes, fds: list[int] | None = None
) -> None:
    data = message if isinstance(message, bytes) else _addressed(message, contract.NAME)
    socket.send_fds(raw, [data], fds or [])


def _last_serial(bus: Any) -> int:
    """Of the call that `bus` made last."""
    return int(bus._transport._serial)
