# SPDX-License-Identifier: LGPL-2.1-or-later
"""The D-Bus contract: names and object paths.  The interfaces are in `liveupdated.interfaces`."""

import functools
import re
from typing import Any, NamedTuple

NAME = "org.liveupdate1"
ROOT = "/org/liveupdate1"
MANAGER = "org.liveupdate1.Manager"
KERNEL = "org.liveupdate1.Kernel"
WORKLOAD = "org.liveupdate1.Workload"
JOB = "org.liveupdate1.Job"
SESSION = "org.liveupdate1.Session"
INTERFACES = (MANAGER, KERNEL, WORKLOAD, JOB, SESSION)
ERRORS = "org.liveupdate1.Error."
NO_OBJECT = "/"
"""In a property of type `o`: there is none."""


class StandardError(Exception):
    """A fault of the call itself, told by a name of the D-Bus specification."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name
        """As ``UnknownMethod``, without ``org.freedesktop.DBus.Error.``"""


class Variant(NamedTuple):
    """A value of a D-Bus `v`, with its type: so it is sent, and so a method gets it."""

    signature: str
    value: Any


@functools.lru_cache(maxsize=4096)
def object_path(kind: str, identity: str) -> str:
    """The path of a `kernel`, `workload`, `job` or `session`.

    Escaped the way systemd does it (sd_bus_path_encode(3)): what is not a letter or a digit becomes
    ``_xx``, a leading digit too, and the empty string is ``_``.
    """
    if not identity:
        return f"{ROOT}/{kind}/_"
    escaped = "".join(
        chr(byte)
        if chr(byte).isascii() and (chr(byte).isalpha() or (chr(byte).isdigit() and place))
        else f"_{byte:02x}"
        for place, byte in enumerate(identity.encode("utf-8", "surrogateescape"))
    )
    return f"{ROOT}/{kind}/{escaped}"


_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@functools.cache
def snake(name: str) -> str:
    """``StagedKernel`` as ``staged_kernel``."""
    return _WORD.sub("_", name).lower()
