# SPDX-License-Identifier: LGPL-2.1-or-later
"""The critical chain to the restore."""

from liveupdated import paths
from liveupdated.advice import Basis, Findings
from liveupdated.advice.units import findings
from liveupdated.systemd import Properties
from liveupdated.timeline import marks
from tests.unit.advice.boots import made, units

START = 1_000_000


def unit(begun: int, done: int, *after: str) -> Properties:
    """Times in ms after the start of userspace."""
    return {
        "After": " ".join(after),
        "InactiveExitTimestampMonotonic": str(START + begun * 1000) if begun else "0",
        "ActiveEnterTimestampMonotonic": str(START + done * 1000),
    }


def goal(at: int, *after: str) -> Properties:
    return unit(at, at + 50, *after)


def found(named: dict[str, Properties], **stamps: int) -> Findings:
    moments = {marks.USERSPACE_START: START} | stamps
    return findings(made(stamps=moments, units=named))


def gains(named: dict[str, Properties]) -> dict[str, int]:
    result = found(named)
    assert all(advice.basis is Basis.COMPUTED for advice in result.advice)
    return {a.id.removeprefix("unit-"): a.gain_us // 1000 for a in result.advice}


def test_a_real_boot_as_systemd_analyze_has_it() -> None:
    """`systemd-analyze critical-chain` said: systemd-remount-fs.service @617ms +222ms, after
    systemd-journald.socket @582ms, after system.slice and -.slice @571ms."""
    result = findings(made(units=units(), stamps={marks.USERSPACE_START: 29_486_166_167}))
    [fact] = result.facts
    assert fact.duration_us == 839_829
    assert fact.text.endswith(
        "after systemd-remount-fs.service (222 ms), after systemd-journald.socket (0 ms), "
        "after system.slice (0 ms), after -.slice (0 ms)"
    )
    [advice] = result.advice
    assert advice.id == "unit-systemd-remount-fs.service"
    assert advice.gain_us // 1000 == 222
    assert advice.seen == [
        "systemctl show systemd-remount-fs.service: 617 ms to 839 ms after the start of userspace"
    ]


def test_the_gain_ends_where_another_was_nearly_as_late() -> None:
    assert gains(
        {
            paths.RESTORE_UNIT: goal(510, "slow.service", "other.service"),
            "slow.service": unit(100, 500),
            "other.service": unit(100, 450),
        }
    ) == {"slow.service": 50}


def test_a_chain_is_followed_to_its_end() -> None:
    assert gains(
        {
            paths.RESTORE_UNIT: goal(900, "b.mount"),
            "b.mount": unit(620, 890, "a.service", "quick.service"),
            "a.service": unit(100, 600),
            "quick.service": unit(10, 20),
            "unrelated.service": unit(1, 899),
        }
    ) == {"a.service": 500, "b.mount": 270}


def test_a_device_is_awaited_from_the_start() -> None:
    assert gains(
        {
            paths.RESTORE_UNIT: goal(900, "var.mount"),
            "var.mount": unit(810, 890, "dev-vdb.device"),
            "dev-vdb.device": unit(800, 800),
        }
    ) == {"dev-vdb.device": 800, "var.mount": 80}


def test_a_boot_with_nothing_to_restore_counts_from_its_condition() -> None:
    skipped = {
        "After": "a.service",
        "InactiveExitTimestampMonotonic": "0",
        "ConditionTimestampMonotonic": str(START + 300_000),
    }
    named = {paths.RESTORE_UNIT: skipped, "a.service": unit(100, 290)}
    assert gains(named) == {"a.service": 190}


def test_units_that_were_started_again_later_are_not_of_the_boot() -> None:
    named = {paths.RESTORE_UNIT: goal(300, "a.service"), "a.service": unit(90_000, 90_100)}
    assert gains(named) == {}


def test_a_restore_that_was_started_by_hand_is_not_of_the_boot() -> None:
    named = {paths.RESTORE_UNIT: goal(90_000, "a.service"), "a.service": unit(1, 500)}
    late = found(named, **{marks.USERSPACE_FINISH: START + 5_000_000})
    assert (late.facts, late.advice) == ([], [])


def test_a_circle_ends() -> None:
    named = {
        paths.RESTORE_UNIT: goal(300, "a.service"),
        "a.service": unit(100, 100, "b.service"),
        "b.service": unit(100, 100, "a.service"),
    }
    assert gains(named) == {}


def test_without_the_restore_unit_or_userspaces_start() -> None:
    assert found({}).advice == []
    named = {paths.RESTORE_UNIT: goal(300, "a.service"), "a.service": unit(100, 290)}
    assert findings(made(units=named)).advice == []
