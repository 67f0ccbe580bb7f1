# SPDX-License-Identifier: LGPL-2.1-or-later
"""What one category of host state offers, and what two snapshots of it differ in.

Standard library only, here and in all of the package: restore is on the blackout's clock.
"""

import operator
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from liveupdated.errors import ServiceError

Snapshot = dict[str, str]
"""A thing's name, as its own tool says it, to its setting."""

UNREADABLE = "(not readable)"
"""The setting of something that only a greater privilege could read: the baseline's sandbox is
narrower than that of the save."""
COMMAND_LIMIT_S = 60.0


@dataclass(frozen=True)
class Category:
    """One sort of host state that a boot forgets."""

    name: str
    title: str
    """What its things are called together."""
    snapshot: Callable[[], Snapshot]
    """All there is of it now, without what a manager that runs puts there itself."""
    put: Callable[[str, str], None]
    """Make it so, whatever is there; raises LiveUpdateError or OSError."""
    look: Callable[[Iterable[str]], Snapshot] | None = None
    """These alone, where that is much quicker than a snapshot of all."""
    same: Callable[[str, str], bool] = operator.eq
    """Whether what is there now is what was saved."""
    default: Callable[[str, Snapshot], str | None] = lambda key, now: None
    """What something that the boot has not set is by itself, where that is known."""
    obstacle: Callable[[str, str], str] = lambda key, value: ""
    """Why it cannot be put back, or nothing."""
    provides: Callable[[str, str], list[str]] = lambda key, value: []
    """What others may need of it (`liveupdated.session.Workload.provides`)."""
    unheard_of: Callable[[str], bool] = lambda key: False
    """Whether this kernel has no such thing at all; asked of what nobody is known to have set."""
    needs: tuple[str, ...] = ()
    """Categories that have to be back before."""
    after: tuple[str, ...] = ()
    """Units that may set, or reset, the same at boot."""
    settled: Callable[[], bool] = lambda: True
    """Whether those units have done their part, once they are up."""
    early: Callable[[str, str], bool] = lambda key, value: True
    """Whether it is put back before the boot goes on, too."""
    content: Callable[[str, str], str] = lambda key, value: ""
    """The folder whose files go along, where it has one."""


def differing(category: Category, before: Snapshot, now: Snapshot) -> Snapshot:
    """What is there now and was not, or not so, before: first what was changed, then what is new.

    What has gone since is no difference: the boot brings it back.
    """

    def was(key: str) -> str | None:
        return before[key] if key in before else category.default(key, now)

    found = [
        (key, value)
        for key, value in now.items()
        if value != was(key) and UNREADABLE not in (value, before.get(key))
    ]
    return dict(sorted(found, key=lambda each: (each[0] not in before, each[0])))


def missing(category: Category, saved: Snapshot, now: Snapshot) -> Snapshot:
    """What of `saved` is not there now, or not so."""
    return {
        key: value
        for key, value in saved.items()
        if key not in now or not category.same(value, now[key])
    }


def run(command: Sequence[str], text: str | None = None) -> str:
    """What the command prints; `text` is its stdin.  Raises ServiceError with its own words."""
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=COMMAND_LIMIT_S,
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
        )
    except FileNotFoundError as error:
        raise ServiceError(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise ServiceError(f"{' '.join(command)} did not finish") from error
    if done.returncode != 0:
        said = (
            done.stderr.strip() or done.stdout.strip() or f"code {done.returncode}"
        ).splitlines()
        raise ServiceError(f"{' '.join(command)} failed", said[0])
    return done.stdout
