# SPDX-License-Identifier: LGPL-2.1-or-later
"""One time scale for the marks of several boots.

Within a boot CLOCK_BOOTTIME is exact and never set.  CLOCK_REALTIME ties boots together but may be
set at any moment, mostly when the first time server answers.  So the true time of a mark is its
boottime plus one offset for the whole boot, the last one seen there: by then it has most likely
been corrected.
"""

from dataclasses import dataclass
from itertools import pairwise

from liveupdated.session import Mark, Session
from liveupdated.timeline import marks

STEP_US = 50_000
"""A change of realtime against boottime that is called a step.  Slewing is limited to 500 ppm
(adjtimex(2)), so that in a session of seconds to a minute a smaller change may be just that."""

RTC_US = 1_000_000
"""The hardware clock that a kernel starts its own from counts whole seconds (rtc(4); the kernel's
drivers/rtc/class.c, rtc_hctosys)."""


@dataclass(frozen=True)
class ClockStep:
    """CLOCK_REALTIME was set by `step_us` (forward if positive) between two marks of a boot."""

    boot_id: str
    after: str
    before: str
    step_us: int


@dataclass(frozen=True)
class Scale:
    """When each boot of a session began, UTC µs as far as known: the true time of boottime 0."""

    begins: dict[str, int]
    uncertainty_us: int
    """Of any span that begins in one boot and ends in another; 0 within a boot."""
    notes: list[str]

    def time(self, mark: Mark) -> int:
        """UTC µs of the mark, corrected."""
        return self.begins[mark.boot_id] + mark.boottime_us


def clock_steps(session: Session) -> list[ClockStep]:
    """The clock steps that the session's marks give away, boot by boot."""
    return [
        ClockStep(boot, earlier.name, later.name, _offset(later) - _offset(earlier))
        for boot, taken in _taken(session).items()
        for earlier, later in pairwise(taken)
        if abs(_offset(later) - _offset(earlier)) > STEP_US
    ]


def scale(session: Session) -> Scale:
    """The common time scale of the session's marks.

    A boot cannot begin before the one before it ended.  Where the clocks claim so (the hardware
    clock counts whole seconds, or runs behind), the later boot is moved, and a note says how far.
    """
    begins: dict[str, int] = {}
    notes: list[str] = []
    floor: int | None = None
    for boot, begin in _by_age(session):
        behind = max(0, floor - begin) if floor is not None else 0
        if behind:
            notes.append(
                f"the clock of boot {boot[:8]} was behind by at least {behind / 1e6:.3f} s; "
                "its marks were moved by that much"
            )
        begins[boot] = begin + behind
        last = max(mark.boottime_us for mark in session.marks if mark.boot_id == boot)
        floor = begins[boot] + last
    uncertainty = _uncertainty(session, len(begins))
    if uncertainty == RTC_US:
        notes.append(
            "spans across the jump may be off by 1 s: a new kernel takes the time from the "
            "hardware clock, which counts whole seconds, until a time server corrects it"
        )
    return Scale(begins, uncertainty, notes)


def _uncertainty(session: Session, boots: int) -> int:
    if boots < 2:
        return 0
    synchronized = {m.boot_id for m in session.marks if m.name == marks.CLOCK_SYNCHRONIZED}
    return STEP_US if len(synchronized) == boots else RTC_US


def _by_age(session: Session) -> list[tuple[str, int]]:
    """(boot id, its begin by its own clock): the boot the session was planned in first."""
    begins = {boot: _offset(taken[-1]) for boot, taken in _taken(session).items()}
    return sorted(
        begins.items(), key=lambda item: (item[0] != session.origin.boot_id, item[1], item[0])
    )


def _taken(session: Session) -> dict[str, list[Mark]]:
    """The marks of each boot whose clocks were both read, in order; all where there are none."""
    boots: dict[str, list[Mark]] = {}
    for mark in sorted(session.marks, key=lambda mark: mark.boottime_us):
        boots.setdefault(mark.boot_id, []).append(mark)
    return {
        boot: [mark for mark in found if mark.name not in marks.DERIVED] or found
        for boot, found in boots.items()
    }


def _offset(mark: Mark) -> int:
    return mark.realtime_us - mark.boottime_us
