# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon as a process of its own on a private bus: its real face, and a host made up below it.

The host has a newer kernel, workloads of every verdict, and a real session behind it.  SIGUSR1 ends
the job under way.
"""

import asyncio
import dataclasses
import signal
import sys
from pathlib import Path

from liveupdated.bus import Bus
from liveupdated.carriers import Carrier
from liveupdated.daemon import Daemon, live
from liveupdated.session import Verdict, Workload
from liveupdated.update.jobs import Job
from liveupdated.update.plan import Found, Plan, make_plan
from liveupdated.update.request import Request
from tests.bus.fakes import FakeBackend, make_kernel
from tests.unit.ctl import real

_OLD, _NEW = "6.12.57+deb13-amd64", "7.3.4+deb13-amd64"


def _workload(name: str, verdict: Verdict, reason: str, mib: int = 0, ms: int = 0) -> Workload:
    return Workload(
        id=f"services:{name}",
        kind="services",
        name=name,
        verdict=verdict,
        reason=reason,
        source="",
        bytes=mib << 20,
        cost_us=ms * 1000,
    )


_WORKLOADS = [
    _workload("redis-server.service", Verdict.CARRIED, "it was opted in", 312, 2300),
    _workload("postgresql.service", Verdict.CARRIED, "it was opted in", 1480, 6100),
    _workload("alice: tmux", Verdict.LOST, "its terminal ends with the session"),
    _workload("alice: org.gnome.TextEditor", Verdict.REOPENED, "opened again, empty"),
    _workload("backup.service", Verdict.BLOCKS, "a run is half done <b>and cannot be repeated</b>"),
    *(
        _workload(f"{name}.service", Verdict.RESTARTED, "starts with the boot; its memory is lost")
        for name in ("cron", "ssh", "NetworkManager", "cups")
    ),
]
"""One reason has what would be markup."""
_DISK = Carrier("disk", Path("/var/lib/liveupdated"), 5 << 30, "the disk always can")


class _Host(FakeBackend):
    async def plan(self, request: Request) -> Plan:  # type: ignore[override]
        found = Found(tuple(_WORKLOADS), (_DISK,), 8 << 30)
        target = next(k for k in self.known_kernels if k.id in (request.kernel, _NEW))
        made = make_plan(found, target, _OLD, request, jump_us=9_000_000)
        candidates = (("memcached.service", "64 MiB of memory"),)
        return dataclasses.replace(made, candidates=candidates)

    async def update(self, job: Job, request: Request) -> None:
        """Ends as the real session did."""
        job.report(2, 7, "saving redis-server.service")
        await self.finish.wait()
        session = real.ten_workloads()
        self.known_sessions.insert(0, session)
        self.last_session = session.id
        self.listener.session_changed(session)
        self.listener.session_finished(session)


async def _main() -> int:
    bus = await Bus.connect()
    host = _Host(running_kernel=_OLD)
    host.known_kernels = [make_kernel(_NEW), make_kernel(_OLD, running=True)]
    host.known_kernels.append(make_kernel("6.1.0-1-amd64", problems=("it has no initrd",)))
    host.known_workloads = _WORKLOADS
    host.known_sessions = [real.every_kind()]
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, host.finish.set)
    return await live(Daemon(bus, host), bus)


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
