# SPDX-License-Identifier: LGPL-2.1-or-later
"""The options of each method: their names, their types, and what they become."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from liveupdated.contract import Variant
from liveupdated.errors import InvalidArgument
from liveupdated.update.quickstop import ORDERLY, QUICK
from liveupdated.update.request import Request

RUNGS = ("soft-reboot", "live-update", "cold-reboot")
STOPS = (QUICK, ORDERLY)


@dataclass(frozen=True)
class Option:
    """One option: its D-Bus type, the field of Request it sets, its values when they are few."""

    signature: str
    field: str
    values: tuple[str, ...] = ()


OPTIONS = {
    "accept-loss": Option("as", "accept_loss"),
    "append": Option("s", "append"),
    "kernel": Option("s", "kernel"),
    "max-blackout": Option("t", "max_blackout_us"),
    "only": Option("as", "only"),
    "rung": Option("s", "rung", ("", *RUNGS)),
    "stop": Option("s", "stop", ("", *STOPS)),
    "when": Option("s", "when", ("", "now", "window")),
}

BY_METHOD = {
    "Stage": ("append",),
    "Unstage": (),
    "Plan": ("kernel", "rung", "accept-loss", "max-blackout", "stop"),
    "Update": ("kernel", "rung", "accept-loss", "max-blackout", "stop", "when", "append"),
    "Rehearse": ("accept-loss", "only"),
    "Rollback": ("accept-loss", "max-blackout", "stop", "when"),
    "Confirm": (),
    "Block": (),
    "Unblock": (),
    "Carry": (),
    "Forget": (),
    "Schedule": (),
    "Unschedule": (),
}


def read_options(method: str, given: Mapping[str, Variant], kernel: str = "") -> Request:
    """What `given` asks for; `kernel` where the method takes that as an argument of its own.

    Raises InvalidArgument, naming the option, for an unknown one, another type or another value.
    """
    known = BY_METHOD[method]
    fields: dict[str, Any] = {"kernel": kernel}
    for name, (signature, value) in given.items():
        if name not in known:
            raise InvalidArgument(
                f"{method} has no option {name!r}",
                "",
                f"it knows {', '.join(known)}" if known else "it knows none",
            )
        option = OPTIONS[name]
        if signature != option.signature:
            raise InvalidArgument(
                f"option {name!r} of {method} has type {option.signature!r}, not {signature!r}"
            )
        if option.values and value not in option.values:
            raise InvalidArgument(
                f"option {name!r} of {method} cannot be {value!r}",
                "",
                f"it is one of {', '.join(filter(None, option.values))}",
            )
        fields[option.field] = tuple(value) if isinstance(value, list) else value
    return Request(**fields)
