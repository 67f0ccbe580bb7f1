# SPDX-License-Identifier: LGPL-2.1-or-later
import pytest

from liveupdated.session import Session
from liveupdated.timeline import marks
from liveupdated.timeline.clocks import RTC_US, STEP_US, ClockStep
from liveupdated.timeline.ledger import clock_steps, ledger, phases

from .example import NEW, NEW_BEGIN, OLD, OLD_OFFSET, mark


def shift(session: Session, boot: str, by: int, since_us: int = 0) -> None:
    """As if that boot's clock had been off by `by` from `since_us` on."""
    for moment in session.marks:
        if moment.boot_id == boot and moment.boottime_us >= since_us:
            moment.realtime_us += by


def durations(session: Session) -> dict[tuple[str, str], int]:
    return {(p.name, p.workload): p.duration_us for p in phases(session)}


@pytest.mark.parametrize("step", [-7_200_000_000, -60_000, 60_000, 3_600_000_000])
def test_a_step_is_found_where_it_happened(session: Session, step: int) -> None:
    shift(session, NEW, step, since_us=6_220_000)
    assert clock_steps(session) == [ClockStep(NEW, marks.RESTORE_START, marks.CLAIMED, step)]
    assert any("the clock was set by" in note for note in ledger(session).notes)


def test_slewing_is_no_step(session: Session) -> None:
    shift(session, NEW, STEP_US, since_us=6_220_000)
    assert clock_steps(session) == []


def test_the_corrected_clock_counts_in_the_new_boot(session: Session) -> None:
    before = durations(session)
    # The hardware clock was two seconds ahead until a time server answered.
    shift(session, NEW, 2_000_000)
    shift(session, NEW, -2_000_000, since_us=8_000_000)
    assert durations(session) == before


def test_the_clock_just_before_the_jump_counts_in_the_old_boot(session: Session) -> None:
    before = durations(session)
    shift(session, OLD, -5_000_000)
    shift(session, OLD, 5_000_000, since_us=101_000_000)
    assert durations(session) == before


def test_marks_of_one_clock_do_not_look_like_steps(session: Session) -> None:
    # Health learns when userspace began after a time server has answered: its realtime is computed
    # from the corrected clock and lies between marks of the uncorrected one.
    for moment in session.marks:
        if moment.name in marks.OF_A_BOOT:
            moment.realtime_us += 5_000_000
    assert clock_steps(session) == []


def test_a_kernel_cannot_start_before_the_old_one_ended(session: Session) -> None:
    before = durations(session)
    shift(session, NEW, -2_400_000)  # 0.4 s before `stopped`
    after = durations(session)
    assert after["kexec", ""] == 0
    assert {**before, ("kexec", ""): 0}.keys() == after.keys()
    assert after["kernel", ""] == before["kernel", ""]
    assert "was behind by at least 0.400 s" in ledger(session).notes[0]


def test_the_uncertainty_of_the_jump_is_told(session: Session) -> None:
    found = ledger(session)
    assert found.uncertainty_us == RTC_US
    assert any("may be off by 1 s" in note for note in found.notes)


def test_clocks_under_a_time_server_are_trusted(session: Session) -> None:
    session.marks.append(mark(marks.CLOCK_SYNCHRONIZED, 100_000_000, OLD, OLD_OFFSET))
    assert ledger(session).uncertainty_us == RTC_US
    session.marks.append(mark(marks.CLOCK_SYNCHRONIZED, 9_000_000, NEW, NEW_BEGIN))
    assert ledger(session).uncertainty_us == STEP_US
    assert ledger(session).notes == []
