# SPDX-License-Identifier: LGPL-2.1-or-later
"""Users: their logins, the managers of their units, and the applications of their desktops.

Whatever is done in a user's manager is done by a process of his (`agent`), which root asks and then
does not believe more than it would believe him: no file of his is opened, no link followed, no
program or environment of his used by root.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class User:
    """Somebody with a user manager."""

    name: str
    uid: int
    gid: int
    linger: bool = False
    """His manager starts with the boot and goes on without a login (loginctl(1))."""


@dataclass(frozen=True)
class Unit:
    """A unit of a user's manager, that nothing but its user's hand has started."""

    name: str
    verdict: str
    reason: str
    cgroup: str
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class App:
    """A desktop application that is open."""

    id: str
    """Desktop id, without the suffix."""
    cgroups: list[str]


@dataclass(frozen=True)
class Look:
    """What the agent sees in the user's manager."""

    units: list[Unit]
    apps: list[App]
    """In the order in which they were opened."""
    stopped: list[str]
    """Stopped by hand: the manager alone would start them."""
    starts: list[str]
    """Running services that start with the manager."""
    others: list[str]
    """Running services that come with a graphical login, or when they are asked for."""
    unwanted: list[str] = field(default_factory=list)
    """Applications that are open and that the user does not want to be opened again."""
    problem: str = ""
    """Why what the user has written about that is not heeded."""
