# SPDX-License-Identifier: LGPL-2.1-or-later
"""A backend in memory: the bus face is tested here, what is below it elsewhere."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from liveupdated.carriers import Carrier
from liveupdated.errors import InvalidArgument, NotFound
from liveupdated.kernels.catalogue import Kernel
from liveupdated.kernels.features import Features
from liveupdated.session import Boot, Mark, Outcome, Session, State, Target, Verdict, Workload
from liveupdated.timeline import marks
from liveupdated.update.events import Listener
from liveupdated.update.inhibit import Inhibitors
from liveupdated.update.jobs import Job, Jobs
from liveupdated.update.request import Request


def make_kernel(release: str, running: bool = False, problems: tuple[str, ...] = ()) -> Kernel:
    return Kernel(
        id=release,
        release=release,
        build="#1 SMP",
        arch="x86_64",
        kind="bzimage",
        image=Path(f"/boot/vmlinuz-{release}"),
        initrds=(Path("/boot/ucode.img"), Path(f"/boot/initrd.img-{release}")),
        cmdline="root=/dev/vda quiet",
        source="debian",
        entry=None,
        features=Features(kexec_file=True, criu=True, handover=False),
        running=running,
        problems=problems,
        warnings=(),
    )


def make_workload(name: str, outcome: Outcome | None = None) -> Workload:
    return Workload(
        id=f"service:{name}",
        kind="service",
        name=name,
        verdict=Verdict.CARRIED,
        reason="it was opted in",
        source="/etc/liveupdated/workloads.d/redis.toml",
        bytes=1 << 33,
        cost_us=1_500_000,
        outcome=outcome,
    )


def make_session(session_id: str, state: State = State.CONFIRMED, workloads: int = 2) -> Session:
    """One that left 6.12 and arrived in 7.3; its workloads were frozen for 20 s."""
    names = [f"redis{n}.service" for n in range(workloads)]
    session = Session(
        id=session_id,
        state=state,
        road="update",
        machine_id="0" * 32,
        origin=Boot("a" * 32, "6.12.1", "quiet"),
        created_us=1_700_000_000_000_000,
        target=Target("7.3.4", "7.3.4", "/boot/vmlinuz-7.3.4", "00", [], "quiet", "t"),
        workloads=[make_workload(name, Outcome.CARRIED) for name in names],
        arrival=Boot("b" * 32, "7.3.4", "quiet"),
        predicted_blackout_us=21_000_000,
        notes=["the clock is right"],
    )
    start = session.created_us
    for name, second, boot, workload in [
        (marks.PLAN_START, 0, "a", ""),
        (marks.SAVE_START, 1, "a", ""),
        *((marks.FROZEN, 2, "a", w.id) for w in session.workloads),
        (marks.SAVE_END, 3, "a", ""),
        (marks.RESTORE_START, 20, "b", ""),
        *((marks.RUNNING, 22, "b", w.id) for w in session.workloads),
        (marks.RESTORE_END, 23, "b", ""),
    ]:
        boottime = (second + (1000 if boot == "a" else -10)) * 1_000_000
        moment = start + second * 1_000_000
        session.marks.append(Mark(name, moment, boottime, boot * 32, workload))
    return session


DISK = Carrier("disk", Path("/"), 1 << 40, "not pmem: nothing is mounted")


@dataclass(frozen=True)
class FakePlan:
    kernel: str = "7.3.4"
    release: str = "7.3.4"
    rung: str = "live-update"
    rung_reason: str = "a newer kernel is there"
    blackout_us: int = 21_000_000
    bytes: int = 1 << 33
    carrier: Carrier = DISK
    stop: str = "quick"
    blockers: Sequence[str] = ("service:x cannot be carried",)
    workloads: Sequence[Workload] = ()
    candidates: Sequence[tuple[str, str]] = (("redis.service", "256 MiB of memory"),)


@dataclass
class FakeBackend:
    """Remembers what was asked of it; a job runs until `finish` is set."""

    listener: Listener = field(default_factory=Listener)
    jobs: Jobs = field(default_factory=Jobs)
    inhibitors: Inhibitors = field(default_factory=Inhibitors)
    state: str = "idle"
    running_kernel: str = "6.12.1"
    staged_kernel: str = ""
    rung: str = "live-update"
    reboot_required: bool = True
    next_update_us: int = 0
    last_session: str = ""
    asked: list[tuple[str, object]] = field(default_factory=list)
    known_kernels: list[Kernel] = field(
        default_factory=lambda: [make_kernel("7.3.4"), make_kernel("6.12.1", running=True)]
    )
    known_workloads: list[Workload] = field(
        default_factory=lambda: [make_workload("redis.service"), make_workload("counter.service")]
    )
    known_sessions: list[Session] = field(default_factory=list)
    never: list[str] = field(default_factory=list)
    finish: asyncio.Event = field(default_factory=asyncio.Event)
    fault: Exception | None = None
    """What the next question or job raises."""
    reloads: int = 0
    stopped: bool = False

    async def kernels(self) -> Sequence[Kernel]:
        return self.known_kernels

    async def blocked(self) -> Sequence[str]:
        return self.never

    async def workloads(self) -> Sequence[Workload]:
        if self.fault:
            raise self.fault
        return self.known_workloads

    async def sessions(self) -> Sequence[Session]:
        return self.known_sessions

    async def plan(self, request: Request) -> FakePlan:
        self.asked.append(("plan", request))
        return FakePlan(workloads=self.known_workloads)

    async def _work(self, kind: str, job: Job, request: Request) -> None:
        self.asked.append((kind, request))
        job.report(1, 4, f"working on the {kind}")
        await self.finish.wait()
        if self.fault:
            raise self.fault

    async def stage(self, job: Job, request: Request) -> None:
        await self._work("stage", job, request)

    async def update(self, job: Job, request: Request) -> None:
        await self._work("update", job, request)

    async def rehearse(self, job: Job, request: Request) -> None:
        await self._work("rehearse", job, request)

    async def rollback(self, job: Job, request: Request) -> None:
        await self._work("rollback", job, request)

    async def unstage(self) -> None:
        self.asked.append(("unstage", None))

    async def confirm(self) -> None:
        self.asked.append(("confirm", None))

    async def block(self, kernel: str) -> None:
        if kernel not in {known.id for known in self.known_kernels}:
            raise NotFound(f"there is no kernel {kernel!r}")
        self.never.append(kernel)

    async def unblock(self, kernel: str) -> None:
        if kernel not in self.never:
            raise NotFound(f"kernel {kernel} is not blocked")
        self.never.remove(kernel)

    async def carry(self, job: Job, name: str) -> None:
        await self._work("carry", job, Request(only=(name,)))

    async def forget(self, name: str) -> None:
        if name != "redis.service":
            raise NotFound(f"{name} was not declared")
        self.asked.append(("forget", name))

    async def schedule(self, calendar: str) -> int:
        if calendar == "whenever":
            raise InvalidArgument("whenever is no calendar expression", "", "see systemd.time(7)")
        self.asked.append(("schedule", calendar))
        self.next_update_us = 1_800_000_000_000_000
        self.listener.changed("NextUpdate")
        return self.next_update_us

    async def unschedule(self) -> None:
        self.next_update_us = 0
        self.listener.changed("NextUpdate")

    async def start(self) -> None:
        self.asked.append(("start", None))

    async def reload(self) -> None:
        self.reloads += 1
        if self.fault:
            raise self.fault

    async def stop(self) -> None:
        self.stopped = True
