# SPDX-License-Identifier: LGPL-2.1-or-later
"""What would shorten the next boot: read off how this one went.

Each module looks at one matter and says what it measured and what it advises.  `report` asks them
all.  A gain is what the evidence allows to say: never a figure of another machine.
"""

from dataclasses import dataclass, field
from enum import StrEnum

WORTH_US = 1_000
"""Advice for less is not worth a change."""


class Basis(StrEnum):
    """How sure a gain is."""

    COMPUTED = "computed"
    """From what was measured, by arithmetic that the advice names."""
    AT_MOST = "at most"
    """This boot spent that time on the whole; how much of it goes is not known."""
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Fact:
    """Something that was measured, or found in order."""

    name: str
    text: str
    duration_us: int = 0


@dataclass(frozen=True)
class Advice:
    """One thing to do."""

    id: str
    title: str
    seen: list[str]
    """Lines of the log and settings, each with its source."""
    do: str
    command: str = ""
    gain_us: int = 0
    basis: Basis = Basis.UNKNOWN
    add: list[str] = field(default_factory=list)
    """Words for the command line of the jump; with the next two what --apply sets."""
    remove: list[str] = field(default_factory=list)
    lean_initrd: bool = False
    """Whether --apply sets that jumps have an initrd of their own."""
    careful: bool = False
    """Applied only by its name: what it takes away may be there because the machine does not come
    up without."""

    @property
    def applicable(self) -> bool:
        return bool(self.add or self.remove or self.lean_initrd)


@dataclass(frozen=True)
class Findings:
    """What one matter came to."""

    facts: list[Fact] = field(default_factory=list)
    advice: list[Advice] = field(default_factory=list)


@dataclass(frozen=True)
class Report:
    """What all matters came to."""

    release: str
    facts: list[Fact]
    advice: list[Advice]
    """The largest gain first, unknown ones last."""
    unread: list[str]
    """What could not be read, and why."""


def largest_first(advice: list[Advice]) -> list[Advice]:
    """Those that are worth it, in the order in which they are shown."""
    worth = [a for a in advice if a.basis is Basis.UNKNOWN or a.gain_us >= WORTH_US]
    return sorted(worth, key=lambda a: (a.basis is Basis.UNKNOWN, -a.gain_us))
