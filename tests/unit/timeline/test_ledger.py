# SPDX-License-Identifier: LGPL-2.1-or-later
import json

from liveupdated.session import Session, State
from liveupdated.timeline import marks
from liveupdated.timeline.ledger import as_json, ledger, phases

from .example import COUNTER, NEW, NEW_BEGIN, OLD, OLD_OFFSET, REDIS, empty, mark


def top(session: Session) -> list[tuple[str, int]]:
    return [(p.name, p.duration_us // 1000) for p in phases(session) if p.top_level]


def drop(session: Session, *names: str) -> None:
    session.marks = [mark for mark in session.marks if mark.name not in names]


def test_a_whole_update_phase_by_phase(session: Session) -> None:
    assert [(p.name, p.duration_us // 1000, p.workload) for p in phases(session)] == [
        ("plan", 400, ""),
        ("stage", 600, ""),
        ("save", 1500, ""),
        ("stop", 2200, ""),
        ("kexec", 2000, ""),
        ("kernel", 1800, ""),
        ("userspace", 4400, ""),
        ("restore", 2800, ""),
        ("health", 5000, ""),
        ("stop/request", 50, ""),
        ("stop/commit", 150, ""),
        ("stop/services", 2000, ""),
        ("kernel/smp", 500, ""),
        ("kernel/deferred", 36, ""),
        ("userspace/generators", 800, ""),
        ("userspace/finish", 11200, ""),
        ("restore/claim", 20, ""),
        ("blackout", 14500, REDIS),
        ("blackout/save", 1200, REDIS),
        ("blackout", 13500, COUNTER),
        ("blackout/save", 900, COUNTER),
    ]


def test_the_ledger_sums_up(session: Session) -> None:
    found = ledger(session)
    assert found.start_us == OLD_OFFSET + 100_000_000
    assert found.duration_us == 20_700_000
    assert found.blackout_us == 14_500_000
    assert found.predicted_blackout_us == 15_000_000
    assert found.clock_steps == []


def test_the_shape_that_leaves_the_program(session: Session) -> None:
    data = json.loads(json.dumps(as_json(session)))
    assert set(data) == {
        "session",
        "start_us",
        "duration_us",
        "blackout_us",
        "predicted_blackout_us",
        "uncertainty_us",
        "phases",
        "clock_steps",
        "notes",
    }
    assert data["phases"][0] == {
        "name": "plan",
        "start_us": OLD_OFFSET + 100_000_000,
        "duration_us": 400_000,
        "workload": "",
    }


def test_an_initrd_has_its_own_phase(session: Session) -> None:
    session.marks.append(mark(marks.INITRD_START, 1_000_000, NEW, NEW_BEGIN))
    assert top(session)[5:8] == [("kernel", 1000), ("initrd", 800), ("userspace", 4400)]


def test_unknown_end_of_the_old_userspace_merges_stop_and_kexec(session: Session) -> None:
    drop(session, marks.STOPPED)
    assert ("stop+kexec", 4200) in top(session)


def test_the_new_kernels_start_is_known_without_its_mark(session: Session) -> None:
    assert marks.KERNEL_START not in {mark.name for mark in session.marks}
    assert ("kernel", 1800) in top(session)


def test_without_systemds_stamps_nobody_knows_of_an_initrd(session: Session) -> None:
    drop(session, marks.USERSPACE_START)
    assert ("kernel+initrd+userspace", 6200) in top(session)


def test_a_failed_save_ends_the_ledger(session: Session) -> None:
    session.marks = [m for m in session.marks if m.boot_id == OLD][:-3]
    session.state = State.ABANDONED
    assert top(session) == [("plan", 400), ("stage", 600), ("save", 1500)]


def test_no_marks_no_ledger() -> None:
    found = ledger(empty())
    assert (found.phases, found.start_us, found.duration_us) == ([], 0, 0)
    assert found.notes == []


def test_a_rehearsal_turns_around_in_its_boot() -> None:
    session = empty()
    session.state = State.REHEARSED
    moments = [
        (marks.USERSPACE_START, 2_000_000),  # a health worker that tells how this boot began
        (marks.SAVE_START, 100_000_000),
        (marks.SAVE_END, 101_000_000),
        (marks.RESTORE_START, 101_200_000),
        (marks.RESTORE_END, 103_000_000),
    ]
    session.marks = [mark(name, at, OLD, OLD_OFFSET) for name, at in moments]
    assert top(session) == [("save", 1000), ("turnaround", 200), ("restore", 1800)]
    assert ledger(session).uncertainty_us == 0
    assert ledger(session).notes == []


def test_the_way_back_from_a_missed_jump_is_not_called_kexec(session: Session) -> None:
    session.state = State.MISSED
    assert ("outage", 2000) in top(session)


def test_an_operators_request_comes_before_its_save(session: Session) -> None:
    for moment in session.marks:
        if moment.name == marks.JUMP_REQUESTED:
            moment.boottime_us = 99_900_000
            moment.realtime_us = OLD_OFFSET + 99_900_000
    found = {phase.name: phase.duration_us // 1000 for phase in phases(session)}
    assert "stop/request" not in found
    assert found["stop/commit"] == 200


def test_a_workload_that_never_came_back_has_no_blackout(session: Session) -> None:
    session.marks = [m for m in session.marks if (m.name, m.workload) != (marks.RUNNING, REDIS)]
    blackouts = [p.workload for p in phases(session) if p.name == "blackout"]
    assert blackouts == [COUNTER]


def test_a_virtual_machine_has_five_phases_of_its_own(session: Session) -> None:
    guest = "machines:mail.service"
    session.marks += [
        mark(marks.FROZEN, 101_300_000, OLD, OLD_OFFSET, guest),
        mark(marks.PAUSED, 101_304_000, OLD, OLD_OFFSET, guest),
        mark(marks.SAVED, 101_404_000, OLD, OLD_OFFSET, guest),
        mark(marks.RETURNING, 7_000_000, NEW, NEW_BEGIN, guest),
        mark(marks.RETURNED, 7_800_000, NEW, NEW_BEGIN, guest),
        mark(marks.RUNNING, 7_820_000, NEW, NEW_BEGIN, guest),
    ]
    spans = {p.name: p.duration_us // 1000 for p in phases(session) if p.workload == guest}
    assert spans == {
        "blackout": 13_220,
        "blackout/save": 104,
        "blackout/pause": 4,
        "blackout/snapshot": 100,
        "blackout/kexec": 12_296,
        "blackout/restore": 800,
        "blackout/resume": 20,
    }
