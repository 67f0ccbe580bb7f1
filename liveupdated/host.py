# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the kinds of workloads look at when they search the host: read once for all of them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from liveupdated import bootset, systemd

if TYPE_CHECKING:
    from liveupdated.rules import R, Rule

UNIT_PROPERTIES = (
    # identity
    "Names LoadState ActiveState SubState FragmentPath DropInPaths Transient UnitFileState "
    "Following SourcePath Slice CanStart StopWhenUnneeded Refs "
    # what pulls it in, and what it pulls in
    "Wants Requires Requisite BindsTo Upholds WantedBy RequiredBy BoundBy UpheldBy TriggeredBy "
    "Triggers ConsistsOf PartOf DefaultDependencies "
    # its run
    "Type RemainAfterExit BusName MainPID ControlGroup Result ConditionResult Job "
    "ActiveEnterTimestampMonotonic ActiveExitTimestampMonotonic InactiveEnterTimestampMonotonic "
    "ExecMainExitTimestampMonotonic ExecMainCode TTYPath "
    "TimersMonotonic TimersCalendar "
    "StandardInput StandardOutput StandardError MemoryCurrent TasksCurrent NFileDescriptorStore "
    "TimeoutStartUSec RuntimeDirectory"
).split()


@dataclass(frozen=True)
class Host:
    """One look at the host."""

    rules: "list[Rule]"
    wanted: Sequence[str] = ("*",)
    """Patterns of the units that are looked at: systemd takes its time for each."""
    spoken_for: set[str] = field(default_factory=set)
    """Units that a kind of workload brings back itself.  Kinds are asked in the order of their
    names, and `units`, which comes after all that do, leaves these out."""
    not_carried: dict[str, str] = field(default_factory=dict)
    """Units that were to be carried if possible, and why that is not: `units` has them then."""
    candidates: dict[str, str] = field(default_factory=dict)
    """Units that nobody has declared and that would be worth carrying, and why."""
    spoken_for_pids: set[int] = field(default_factory=set)
    """The same for processes: whoever speaks for one adds it, and leaves out what is here."""

    def rule(self, kind: "type[R]", name: str) -> "R | None":
        """The rule of that kind that decides about `name`."""
        # Rules need pydantic, which users' agents have no time for.
        from liveupdated.rules import deciding  # noqa: PLC0415

        return deciding(self.rules, kind, name)

    def any_rule(self, names: Collection[str]) -> "Rule | None":
        """The rule of any kind that decides about what has these names."""
        from liveupdated.rules import deciding_any  # noqa: PLC0415

        return deciding_any(self.rules, names)

    @cached_property
    def units(self) -> dict[str, systemd.Properties]:
        """Every unit that systemd has loaded, of those that are wanted, by its name."""
        units = systemd.show(self.wanted, UNIT_PROPERTIES)
        if bootset.default_target(units) is None:
            # Somebody went to another target since; asked for, this one and its own are loaded.
            _add_with_all_it_pulls_in(units, ["default.target"])
        return units

    @cached_property
    def boot(self) -> bootset.BootSet:
        """What a boot alone would start."""
        return bootset.boot_set(self.units, bootset.volatile_links(), bootset.bus_activated())


def _add_with_all_it_pulls_in(units: dict[str, systemd.Properties], wanted: list[str]) -> None:
    while wanted:
        shown = systemd.show(wanted, UNIT_PROPERTIES)
        units |= shown
        pulled = {
            other
            for unit in shown.values()
            for key in (*bootset.PULLS, "Triggers")
            for other in bootset.names(unit, key)
        }
        wanted = sorted(pulled - units.keys())
