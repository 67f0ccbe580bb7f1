# SPDX-License-Identifier: LGPL-2.1-or-later
"""A live update as it went in a virtual machine, 6.12 to 7.3, told in marks."""

from liveupdated.session import Boot, Mark, Outcome, Session, State, Target, Verdict, Workload
from liveupdated.timeline import marks

OLD = "0ld0b007aaaa4bbb8cccddddeeeeffff"
NEW = "12345678aaaa4bbb8cccddddeeeeffff"
OLD_OFFSET = 1_795_000_000_000_000
"""CLOCK_REALTIME - CLOCK_BOOTTIME of the old boot."""
NEW_BEGIN = OLD_OFFSET + 100_000_000 + 6_700_000
"""The new kernel's boottime 0, UTC: 106.7 s of the old boot's time."""
REDIS = "service:redis-server.service"
COUNTER = "service:counter.service"

OLD_MOMENTS = [
    (marks.PLAN_START, 100_000_000, ""),
    (marks.PLAN_END, 100_400_000, ""),
    (marks.SAVE_START, 101_000_000, ""),
    (marks.FROZEN, 101_100_000, REDIS),
    (marks.SAVED, 102_300_000, REDIS),
    (marks.FROZEN, 101_200_000, COUNTER),
    (marks.SAVED, 102_100_000, COUNTER),
    (marks.SAVE_END, 102_500_000, ""),
    (marks.JUMP_REQUESTED, 102_550_000, ""),
    (marks.COMMIT_END, 102_700_000, ""),
]
NEW_MOMENTS = [
    (marks.SMP_START, 400_000, ""),
    (marks.SMP_END, 900_000, ""),
    (marks.DEFERRED_START, 910_000, ""),
    (marks.DEFERRED_END, 946_000, ""),
    (marks.USERSPACE_START, 1_800_000, ""),
    (marks.GENERATORS_START, 2_300_000, ""),
    (marks.GENERATORS_END, 3_100_000, ""),
    (marks.RESTORE_START, 6_200_000, ""),
    (marks.CLAIMED, 6_220_000, ""),
    (marks.RUNNING, 8_000_000, COUNTER),
    (marks.RUNNING, 8_900_000, REDIS),
    (marks.RESTORE_END, 9_000_000, ""),
    (marks.USERSPACE_FINISH, 13_000_000, ""),
    (marks.HEALTH_END, 14_000_000, ""),
]


def mark(name: str, boottime_us: int, boot: str, offset: int, workload: str = "") -> Mark:
    return Mark(name, boottime_us + offset, boottime_us, boot, workload)


def empty() -> Session:
    return Session(
        id="5e55",
        state=State.PLANNED,
        road="update",
        machine_id="f" * 32,
        origin=Boot(OLD, "6.12.57+deb13-amd64", "root=/dev/nvme0n1"),
        created_us=OLD_OFFSET + 100_000_000,
    )


def example() -> Session:
    made = empty()
    made.state = State.CONFIRMED
    made.target = Target("debian-7.3", "7.3.4+deb13-amd64", "/boot/vmlinuz", "0" * 64, [], "", "t")
    made.arrival = Boot(NEW, "7.3.4+deb13-amd64", "root=/dev/nvme0n1 liveupdated.token=t")
    made.predicted_blackout_us = 15_000_000
    made.workloads = [
        Workload(i, "service", i[8:], Verdict.CARRIED, "opted in", outcome=Outcome.CARRIED)
        for i in (REDIS, COUNTER)
    ]
    made.marks = [mark(name, at, OLD, OLD_OFFSET, w) for name, at, w in OLD_MOMENTS]
    like = made.marks[-1]
    made.marks.append(marks.at_realtime(marks.STOPPED, OLD_OFFSET + 104_700_000, like))
    made.marks += [mark(name, at, NEW, NEW_BEGIN, w) for name, at, w in NEW_MOMENTS]
    return made
