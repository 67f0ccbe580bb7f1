# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon's face on a private bus, once with each D-Bus library."""

import contextlib
import importlib
import os
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from liveupdated import contract
from liveupdated.contract import Variant
from tests.bus.fakes import FakeBackend
from tests.bus.private_bus import PrivateBus, private_bus

if TYPE_CHECKING:
    from liveupdated.bus import Bus, Signal

LIBRARIES = ("dbus_next", "dbus_fast")
_BOUND_TO_A_LIBRARY = ("liveupdated.bus", "liveupdated.daemon", "liveupdated.api")
_loaded: dict[str, dict[str, ModuleType]] = {}


def _load(library: str) -> dict[str, ModuleType]:
    """Import what imports the library anew, as a process with that library would have it."""
    if library not in _loaded:
        os.environ["LIVEUPDATED_DBUS"] = library
        for name in list(sys.modules):
            if name.startswith(_BOUND_TO_A_LIBRARY):
                del sys.modules[name]
        names = ("liveupdated.bus", "liveupdated.daemon", "liveupdated.api.polkit")
        _loaded[library] = {name: importlib.import_module(name) for name in names}
        del os.environ["LIVEUPDATED_DBUS"]
    return _loaded[library]


@pytest.fixture(scope="session")
def system_bus() -> Iterator[PrivateBus]:
    with private_bus() as bus:
        yield bus


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> dict[str, ModuleType]:
    """The modules that know a D-Bus library, by name."""
    return _load(request.param)


@dataclass
class World:
    """A daemon with a backend in memory, and a client beside it."""

    system: PrivateBus
    modules: dict[str, ModuleType]
    backend: FakeBackend
    server: "Bus"
    daemon: Any
    client: "Bus"
    signals: list["Signal"] = field(default_factory=list)

    async def call(self, member: str, signature: str = "", *args: Any, **more: Any) -> list[Any]:
        """Call a method of the manager."""
        return await self.client.call(
            contract.NAME, contract.ROOT, contract.MANAGER, member, signature, *args, **more
        )

    async def get(self, name: str, path: str = contract.ROOT, interface: str = "Manager") -> Any:
        """A property of an object of ours."""
        [value] = await self.client.call(
            contract.NAME,
            path,
            "org.freedesktop.DBus.Properties",
            "Get",
            "ss",
            f"{contract.NAME}.{interface}",
            name,
        )
        return value

    async def watch(self, member: str, interface: str = contract.MANAGER, path: str = "") -> None:
        """Collect that signal of ours in `signals`."""
        await self.client.subscribe(contract.NAME, path, interface, member, self.signals.append)

    async def settle(self) -> None:
        """Until all that the daemon sent so far has arrived at the client."""
        await self.client.call(contract.NAME, "/", "org.freedesktop.DBus.Peer", "Ping")

    async def errors(self, member: str, signature: str = "", *args: Any) -> tuple[str, str]:
        """The name and the text of the error that the call is answered with."""
        try:
            answer = await self.call(member, signature, *args)
        except self.modules["liveupdated.bus"].RemoteError as error:
            return error.remote_name, error.why
        except Exception as error:
            return contract.ERRORS + type(error).__name__, str(error)
        raise AssertionError(f"{member} was answered with {answer}")


@pytest.fixture
async def world(system_bus: PrivateBus, library: dict[str, ModuleType]) -> AsyncIterator[World]:
    async with make_world(system_bus, library) as made:
        yield made


@contextlib.asynccontextmanager
async def make_world(
    system_bus: PrivateBus, library: dict[str, ModuleType]
) -> AsyncIterator[World]:
    """A daemon and a client on `system_bus`."""
    bus_class = library["liveupdated.bus"].Bus
    server = await bus_class.connect(system_bus.address)
    client = await bus_class.connect(system_bus.address)
    backend = FakeBackend()
    daemon = library["liveupdated.daemon"].Daemon(server, backend)
    await daemon.start()
    yield World(system_bus, library, backend, server, daemon, client)
    await client.close()
    await daemon.stop()


def options(**given: tuple[str, Any]) -> dict[str, Variant]:
    """`max_blackout=("t", 5)` as the bus has it."""
    return {name.replace("_", "-"): Variant(*value) for name, value in given.items()}
