# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sessions of virtual machines, 6.12 to 7.3, as `session.json` had them afterwards.

Without what the kinds noted for themselves (`facts`, `saved`).  Emulated, on a busy machine: slow.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

from liveupdated import contract, interfaces
from liveupdated.api.session import SessionObject
from liveupdated.ctl.client import Client
from liveupdated.ctl.shapes import SessionDetail, Timeline
from liveupdated.session import Session, from_json

_FOLDER = Path(__file__).with_name("sessions")


def ten_workloads() -> Session:
    """Confirmed; six of the ten were frozen."""
    return _load("ten-workloads")


def every_kind() -> Session:
    """Degraded: 56 workloads, 21 of them frozen, and two that failed."""
    return _load("every-kind")


def _load(name: str) -> Session:
    return from_json(json.loads((_FOLDER / f"{name}.json").read_text()))


def record(session: Session) -> tuple[SessionDetail, Timeline]:
    """What the client makes of the session when it comes over the bus."""
    known = SessionObject(session)
    properties = {
        name: getattr(known, contract.snake(name))
        for name in interfaces.interface(contract.SESSION).properties
    }
    properties["Workloads"] = [
        {key: variant.value for key, variant in row.items()} for row in properties["Workloads"]
    ]
    return asyncio.run(_Answers(properties).record(session.id))


class _Answers(Client):
    def __init__(self, properties: dict[str, Any]) -> None:
        self._properties = properties

    async def call_on(self, path: str, interface: str, member: str, *_: Any) -> list[Any]:
        if member == "ListSessions":
            return [[(path, self._properties)]]
        return [self._properties]
