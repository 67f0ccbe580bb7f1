# SPDX-License-Identifier: LGPL-2.1-or-later
"""What `workloads.d` can say about processes outside services."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from liveupdated.procs.look import DELETED, Process


@dataclass(frozen=True)
class ProcessRule:
    """All that it says has to fit; each is a pattern with `*` and `?`."""

    process: str
    """Path of the program, as /proc/PID/exe has it."""
    carry: Literal["memory", "restart", "no"]
    user: str = "*"
    """Name of the user."""
    cgroup: str = "*"
    """Path below /sys/fs/cgroup."""
    arguments: str = "*"
    """All arguments, the first one (its own name) too, with a space between them."""
    fallback: Literal["restart", "lost"] = "lost"
    """Where memory cannot be brought back: start it again, or not."""
    source: str = ""

    def fits(self, process: Process) -> bool:
        """Whether this rule is about that process."""
        return (
            fnmatchcase(process.exe.removesuffix(DELETED), self.process)
            and fnmatchcase(process.user, self.user)
            and fnmatchcase(process.cgroup, self.cgroup)
            and fnmatchcase(" ".join(process.argv), self.arguments)
        )


def deciding(rules: Iterable[object], process: Process) -> ProcessRule | None:
    """The last rule that fits, unless it says no."""
    fitting = [rule for rule in rules if isinstance(rule, ProcessRule) and rule.fits(process)]
    return fitting[-1] if fitting and fitting[-1].carry != "no" else None
