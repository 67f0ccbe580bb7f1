# SPDX-License-Identifier: LGPL-2.1-or-later
"""The networks and storage pools that domains stand on in libvirt.

Standard library only: the restore worker reads this on the blackout's clock.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path

from liveupdated import libvirt
from liveupdated.errors import ServiceError
from liveupdated.session import Json

_KINDS = (("networks", "net", "Active", "yes"), ("pools", "pool", "State", "running"))
"""Our word, virsh's, and what its `-info` says of one in use."""


def keep(facts: Mapping[str, Json], folder: Path) -> None:
    """Write down those that are gone from libvirt once they are stopped.  Raises ServiceError."""
    for key, word, _, _ in _KINDS:
        for name in facts[key]:
            if libvirt.info(f"{word}-info", name).get("Persistent") == "no":
                _kept(folder, word, name).write_text(libvirt.virsh(f"{word}-dumpxml", name))


def start(facts: Mapping[str, Json], folder: Path) -> None:
    """Have all that the domain had in use again.  Raises ServiceError."""
    for key, word, shown, there in _KINDS:
        for name in facts[key]:
            _start(word, name, _kept(folder, word, name), (shown, there))


def _kept(folder: Path, word: str, name: str) -> Path:
    return folder / f"{word}-{name}.xml"


def _start(word: str, name: str, kept: Path, there: tuple[str, str]) -> None:
    with contextlib.suppress(ServiceError):  # there is none of that name
        if there in libvirt.info(f"{word}-info", name).items():
            return
    try:
        if kept.is_file():
            libvirt.virsh(f"{word}-create", str(kept))
        else:
            libvirt.virsh(f"{word}-start", name)
    except ServiceError:
        # Its own autostart may have come in between.
        if there not in libvirt.info(f"{word}-info", name).items():
            raise
