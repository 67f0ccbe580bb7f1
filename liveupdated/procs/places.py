# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which cgroups hold processes that no service speaks for.  Standard library only."""

import re
from collections.abc import Mapping
from enum import Enum
from urllib.parse import quote, unquote

from liveupdated import systemd

OWN = "liveupdated-process-"
"""How the names of our units with processes begin."""
FROM = "X-LiveUpdateFrom"
"""In such a unit, ignored by systemd (systemd.unit(5)): see `came_from`."""
SPAWNERS = ("cron.service", "crond.service", "anacron.service", "atd.service")
"""Services whose children are somebody else's jobs."""

# Those that have a kind of their own, or an engine that starts them.
CONTAINERS = re.compile(
    r"/(machine-|libpod|docker|crio|cri-containerd|nerdctl|lxc|kubepods|buildkit|\.\.)"
    r"|/machine\.slice/|/libvirt"
)
SESSION = re.compile(r"/user\.slice/user-\d+\.slice/session-[^/]+\.scope(/|$)")
MANAGER = re.compile(r"/user@\d+\.service/")


class Place(Enum):
    """Where a process lives."""

    HERE = 1
    """In no service: somebody would miss it, though no unit names it."""
    SPAWNED = 2
    """In the service of a scheduler: its own program aside, as HERE."""
    USERS = 3
    """In a scope of a user's manager: only where a rule names it."""
    ELSEWHERE = 4
    """A service's, a container's, the system's own."""


def place(cgroup: str) -> Place:
    """What lives in a cgroup of that path."""
    if CONTAINERS.search(cgroup):
        return Place.ELSEWHERE
    if SESSION.match(cgroup):
        return Place.HERE
    if MANAGER.search(cgroup):
        return Place.USERS if ".scope" in cgroup.partition(".service/")[2] else Place.ELSEWHERE
    unit = unit_of(cgroup)
    if unit.startswith(OWN):
        return Place.HERE
    if unit in SPAWNERS:
        return Place.SPAWNED
    if unit == "init.scope" or unit.endswith(".service"):
        return Place.ELSEWHERE
    return Place.HERE


def mains(units: Mapping[str, systemd.Properties]) -> dict[int, str]:
    """The units' main processes, but for those of units of ours: these hold what is in no unit."""
    return {
        int(unit.get("MainPID") or 0): name
        for name, unit in units.items()
        if not name.startswith(OWN)
    }


def unit_of(cgroup: str) -> str:
    """The service or scope that a cgroup belongs to; empty for one made by hand."""
    names = (name for name in cgroup.split("/") if name.endswith((".service", ".scope")))
    return next(names, "")


def came_from(cgroup: str) -> str:
    """The line in a unit of ours that tells where its processes were first; the last of the file.

    Quoted: a user names the cgroups below his own.
    """
    return f"{FROM}={quote(cgroup)}\n"


def origin(cgroup: str) -> str:
    """The cgroup that processes there were in before they were brought back: rules name that."""
    unit = unit_of(cgroup)
    if not unit.startswith(OWN):
        return cgroup
    try:
        text = (systemd.RUN / systemd.RUNTIME_UNITS / unit).read_text()
    except OSError:
        return cgroup
    lines = (line.partition("=") for line in text.splitlines())
    return next((unquote(value) for key, _, value in lines if key == FROM), cgroup)


def by_hand(cgroup: str) -> bool:
    """Whether systemd does not know the cgroup: nothing but a hand makes it again."""
    return cgroup != "/" and not unit_of(cgroup) and not cgroup.endswith(".slice")


def slice_of(cgroup: str) -> str:
    """The slice of the user whose processes live there; empty for the system's."""
    found = re.match(r"/user\.slice/(user-\d+\.slice)/", cgroup)
    return found[1] if found else ""
