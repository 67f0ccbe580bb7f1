# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the restore waited for in userspace: the critical chain, by systemd's time stamps.

A unit waits for those in its After= that were started in this boot.  With that the boot is run
again, once for each unit of the chain, as if that unit had taken no time: what the restore would
have come earlier is the gain.  It is no more than the unit took, and less where another was
nearly as late.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from liveupdated import paths
from liveupdated.advice import Advice, Basis, Fact, Findings
from liveupdated.advice.evidence import Evidence
from liveupdated.systemd import Properties
from liveupdated.timeline import marks

_SHOWN = 5


@dataclass(frozen=True)
class _Unit:
    name: str
    begun: int
    done: int
    after: list[str]

    @property
    def took(self) -> int:
        return self.done - self.begun


def findings(evidence: Evidence) -> Findings:
    start = evidence.moments.get(marks.USERSPACE_START, 0)
    facts = [
        Fact(name, text, took)
        for name, text, begin, end in (
            (
                "generators",
                "systemd's generators",
                marks.GENERATORS_START,
                marks.GENERATORS_END,
            ),
            (
                "units-load",
                "systemd reading its units",
                marks.UNITS_LOAD_START,
                marks.UNITS_LOAD_END,
            ),
        )
        if (took := evidence.span_us(begin, end))
    ]
    goal = evidence.units.get(paths.RESTORE_UNIT)
    at = _begun(goal) if goal else 0
    end = evidence.moments.get(marks.USERSPACE_FINISH, at)
    # Later than the boot: somebody started it by hand.
    if not goal or not start or not start <= at <= end:
        return Findings(facts)
    units = _before(evidence.units, start, at)
    waited = [name for name in goal.get("After", "").split() if name in units]
    chain = _chain(units, waited)
    line = ", after ".join(f"{unit.name} ({unit.took // 1000} ms)" for unit in chain)
    text = f"userspace before the restore{f'; the restore came after {line}' if line else ''}"
    facts.append(Fact("before-restore", text, at - start))
    lag = at - max((units[name].done for name in waited), default=start)
    advice = []
    for unit in chain:
        gain = at - lag - _replay(units, waited, start, unit.name)
        if gain > 0:
            advice.append(_slow(unit, gain, start))
    advice.sort(key=lambda each: -each.gain_us)
    return Findings(facts, advice[:_SHOWN])


def _slow(unit: _Unit, gain: int, start: int) -> Advice:
    if unit.name.endswith(".device"):
        do = "the device is there that late; a driver in the initrd, or built in, finds it earlier"
    else:
        do = "make it quicker, disable it where nothing needs it, or order it later"
    return Advice(
        id=f"unit-{unit.name}",
        title=f"{unit.name}: let the restore not wait for it",
        seen=[
            f"systemctl show {unit.name}: {(unit.begun - start) // 1000} ms to "
            f"{(unit.done - start) // 1000} ms after the start of userspace"
        ],
        do=f"{do}. The gain is what the restore would have come earlier, had it taken no time",
        command=f"systemd-analyze critical-chain {paths.RESTORE_UNIT}",
        gain_us=gain,
        basis=Basis.COMPUTED,
    )


def _begun(properties: Properties) -> int:
    """When it was started, or skipped because there was nothing to restore."""
    names = ("InactiveExitTimestampMonotonic", "ConditionTimestampMonotonic")
    return next((at for name in names if (at := _stamp(properties, name))), 0)


def _stamp(properties: Properties, name: str) -> int:
    value = properties.get(name, "")
    return int(value) if value.isdecimal() else 0


def _before(units: Mapping[str, Properties], start: int, at: int) -> dict[str, _Unit]:
    """The units that were up before `at`, in the order of their start."""
    found = []
    for name, properties in units.items():
        done = _stamp(properties, "ActiveEnterTimestampMonotonic")
        begun = _stamp(properties, "InactiveExitTimestampMonotonic")
        # A device is there when it is there: what it took began with userspace.
        begun = start if name.endswith(".device") else max(start, begun)
        if begun <= done <= at:
            found.append(_Unit(name, begun, done, properties.get("After", "").split()))
    found.sort(key=lambda unit: (unit.begun, unit.done))
    return {unit.name: unit for unit in found}


def _chain(units: Mapping[str, _Unit], waited: list[str]) -> list[_Unit]:
    """What was waited for last, and what that waited for last, and so on."""
    chain: list[_Unit] = []
    left = [units[name] for name in waited]
    while left:
        last = max(left, key=lambda unit: unit.done)
        chain.append(last)
        left = [u for u in _waits(units, last) if u not in chain]
    return chain


def _waits(units: Mapping[str, _Unit], unit: _Unit) -> list[_Unit]:
    if unit.name.endswith(".device"):
        return []
    return [units[name] for name in unit.after if name in units and units[name].done <= unit.begun]


def _replay(units: Mapping[str, _Unit], waited: list[str], start: int, without: str) -> int:
    """When the last of `waited` would have been up, had `without` taken no time."""
    done: dict[str, int] = {}
    for unit in units.values():
        before = [u for u in _waits(units, unit) if u.name in done]
        lag = unit.begun - max((u.done for u in before), default=start)
        begun = max((done[u.name] for u in before), default=start) + lag
        done[unit.name] = begun if unit.name == without else begun + unit.took
    return max((done[name] for name in waited), default=start)
