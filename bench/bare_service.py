# SPDX-License-Identifier: LGPL-2.1-or-later
"""The yardstick: a service of dbus-next with 20 properties, and nothing else."""
# mypy: disable-error-code="no-untyped-call, untyped-decorator, attr-defined"
# ruff: noqa: F821 - dbus-next takes D-Bus signatures for annotations

import asyncio
from typing import Any

from dbus_next.aio import MessageBus
from dbus_next.constants import BusType, PropertyAccess
from dbus_next.service import ServiceInterface, dbus_property

NAME = "org.example.Bare"
PATH = "/org/example/Bare"
PROPERTIES = 20


def _property(number: int) -> Any:
    def value(self: Any) -> "s":  # type: ignore[name-defined]
        return f"value {number}"

    value.__name__ = f"Property{number}"
    return dbus_property(access=PropertyAccess.READ)(value)


Bare: Any = type(
    "Bare",
    (ServiceInterface,),
    {f"Property{number}": _property(number) for number in range(PROPERTIES)},
)


async def main() -> None:
    bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
    bus.export(PATH, Bare(NAME))
    await bus.request_name(NAME)
    await bus.wait_for_disconnect()


if __name__ == "__main__":
    asyncio.run(main())
