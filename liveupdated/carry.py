# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which services somebody declared to be carried with their memory, and where it was said.

Two ways: a rule in workloads.d (`carry = "memory"`, or `"if-possible"`), or the key
`X-LiveUpdate=carry` in the unit's file or one of its drop-ins.  systemd ignores keys that begin
with `X-` (systemd.unit(5)) and does not report them, so the files are read here.  A rule decides
over the key, but for one that says `if-possible`: the key asks for more.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from liveupdated.systemd import Properties

if TYPE_CHECKING:
    from liveupdated.host import Host

KEY = "X-LiveUpdate"


@dataclass(frozen=True)
class UnitRule:
    """What `workloads.d` can say about a unit."""

    unit: str
    """Name, or a pattern with `*` and `?`."""
    carry: Literal["memory", "if-possible", "no"]
    """`if-possible`: started afresh, not refused, where something stands in the way."""
    source: str = ""


@dataclass(frozen=True)
class Declared:
    """That a service is to be carried in memory."""

    source: str
    """The file that says so."""
    optional: bool = False
    """Only where that is possible."""


def declared(host: "Host") -> dict[str, Declared]:
    """Active services that are to be carried in memory, by unit name."""
    found: dict[str, Declared] = {}
    for name, unit in host.units.items():
        if not name.endswith(".service") or unit.get("ActiveState") != "active":
            continue
        rule = host.rule(UnitRule, name)
        said = rule.carry if rule else "if-possible"
        if rule and said == "memory":
            found[name] = Declared(rule.source)
        elif said == "if-possible" and (source := declaring_file(unit)):
            found[name] = Declared(source)
        elif rule and said == "if-possible":
            found[name] = Declared(rule.source, optional=True)
    return found


def declaring_file(unit: Properties) -> str:
    """The last of the unit's files that sets the key, if what it sets is `carry`."""
    decided, value = "", ""
    for path in [unit.get("FragmentPath", ""), *unit.get("DropInPaths", "").split()]:
        try:
            lines = Path(path).read_text().splitlines() if path else []
        except OSError:
            continue
        for line in lines:
            key, _, text = line.partition("=")
            if key.strip() == KEY:
                decided, value = path, text.strip()
    return decided if value == "carry" else ""
