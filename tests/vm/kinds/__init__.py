# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the VM test of all kinds needs of each kind: one module a kind, found by being here."""

import importlib
import os
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

from tests.lab.qemu import Machine

ONLY = "LAB_KINDS"
"""Environment: a comma-separated choice of kinds, for whoever works on one."""

Row = Mapping[str, Any]
"""A workload in a plan or session, as `--json` prints it."""


class Kind(Protocol):
    """What a module here offers.  Workloads are named by their id."""

    PLANNED: Mapping[str, str]
    """The verdicts that the plan must show."""
    OUTCOMES: Mapping[str, str]
    """The outcomes after a jump."""
    ALTER: str
    """Bash, run as the old userspace's last act: damages what was saved.  Empty: there is nothing
    to damage."""
    ALTERED: Mapping[str, tuple[str, str]]
    """The outcomes after a jump with that, each with words of its reason."""

    @staticmethod
    def furnish(vm: Machine) -> None:
        """Set the workloads up and wait until they really work."""

    @staticmethod
    def assert_goes_on(vm: Machine) -> None:
        """They are what they were: memory, files, counters without a gap or a double."""


def option(kind: Kind, name: str, default: Any) -> Any:
    """What a module may have besides:

    - MEMORY (MiB), PORTS, QEMU_ARGS, APPEND: what its machine has to have;
    - ACCEPT: patterns of losses that are agreed to;
    - REFUSAL (bash that puts an obstacle in a workload's way which shows only when it is saved),
      REFUSAL_WORDS (of the error, for each such workload), REFUSAL_UNDO (bash);
    - assert_planned(vm, rows): more about the plan's rows, by id;
    - assert_returned(vm, session): more about the first jump;
    - assert_fresh(vm): after the jump with ALTER.
    """
    return getattr(kind, name, default)


def chosen() -> dict[str, Kind]:
    """The kinds to test, by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    only = os.environ.get(ONLY)
    return {
        name: cast(Kind, importlib.import_module(f"{__name__}.{name}"))
        for name in names
        if not only or name in only.split(",")
    }


def together(kinds: Mapping[str, Kind], name: str) -> list[Any]:
    """The lists that the kinds have under `name`, as one."""
    found: list[Any] = []
    for kind in kinds.values():
        value: Sequence[Any] = option(kind, name, ())
        found += value
    return found
