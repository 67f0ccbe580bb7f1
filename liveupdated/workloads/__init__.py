# SPDX-License-Identifier: LGPL-2.1-or-later
"""The kinds of workloads: one module each, found by being in this folder.

A kind is a module with the functions of `Kind`.  A session names the kind of each workload, and
`kind()` imports that module alone: restore pays only for what it restores.  Kinds do not know each
other.
"""

import importlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from liveupdated.errors import NotFound
from liveupdated.session import Mark, Outcome, Workload

if TYPE_CHECKING:
    from liveupdated.host import Host


Marker = Callable[[str], None]
"""Adds a mark of that name (`liveupdated.timeline.marks`) for the workload, taken now."""


@dataclass(frozen=True)
class Result:
    """What a restore came to."""

    outcome: Outcome
    reason: str = ""
    marks: Sequence[Mark] = ()
    """Taken by somebody else on the way, at times that are known."""


class Kind(Protocol):
    """What a module in this folder offers.  Each function acts on one workload and may block; none
    but `find` hears of one whose verdict is LOST.

    Two more are for kinds that can, while all runs on and before anything is frozen:
    `look_ahead(workload)` finds out what `save` then need not, and notes it in `workload.facts`;
    `write_ahead(workload, artifacts)` writes below `artifacts` what `save` then need not write
    frozen.  What is in the way of a save they leave to that.
    """

    @property
    def RULE(self) -> type[Any] | None:
        """The dataclass of this kind's rules in workloads.d (`liveupdated.rules`); or None."""

    @staticmethod
    def find(host: "Host") -> Iterable[Workload]:
        """What of this kind runs here, with verdicts.  Changes nothing.  Raises LiveUpdateError or
        OSError when that cannot be told: the plan has a row for it then, which blocks."""

    @staticmethod
    def hold_files(workload: Workload) -> dict[str, str]:
        """Drop-ins (path below a unit folder: text) to be in force from before `save` until the
        jump or `resume`."""

    @staticmethod
    def save(workload: Workload, artifacts: Path, mark: Marker) -> None:
        """Freeze it, write its state below `artifacts`, set `workload.saved`.

        On return the workload runs no further instruction until `resume` or `restore`.  Raises
        SaveFailed; then it runs on as if nothing had been.
        """

    @staticmethod
    def commit(workload: Workload) -> None:
        """The jump is next, for good: end what `save` froze, without its noticing."""

    @staticmethod
    def resume(workload: Workload, artifacts: Path) -> None:
        """Undo `save`, also a half-done one, also after `commit`.  Safe to call twice."""

    @staticmethod
    def boot_files(workload: Workload, artifacts: Path) -> dict[str, str]:
        """Unit files and drop-ins (path below a unit folder: text) for the boot after the jump.

        Written with the save.  The generator leaves out what says, by `unitrestore.until`, that it
        has served.
        """

    @staticmethod
    def prepare(workload: Workload, artifacts: Path) -> None:
        """After the jump, before any unit that the session brings back is started: make what
        `boot_files` need.  Never raises for a workload that cannot be brought back."""

    @staticmethod
    def restore(workload: Workload, artifacts: Path, mark: Marker) -> Result:
        """After the jump: bring it back, or wait until systemd has.  Never raises for a workload
        that cannot be brought back: the result says so."""

    @staticmethod
    def restart(workload: Workload) -> Result:
        """After a boot that is not our jump: memory is gone, bring back what can be."""

    @staticmethod
    def settle() -> None:
        """The boot after the jump is done: lift what held only for that boot."""


def names() -> list[str]:
    """The kinds there are, in the order of their names."""
    import pkgutil  # noqa: PLC0415 - a restore knows the kinds that it needs

    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def kind(name: str) -> Kind:
    """The module of that name.  Raises NotFound."""
    if not name.isidentifier():
        raise NotFound(f"{name!r} is no kind of workload")
    try:
        return cast(Kind, importlib.import_module(f"{__name__}.{name}"))
    except ModuleNotFoundError as error:
        raise NotFound(f"this version knows no workloads of kind {name!r}") from error
