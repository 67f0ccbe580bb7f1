# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the plan is made with, by what it is for."""

import asyncio
import dataclasses
from pathlib import Path

import pytest

from liveupdated import paths
from liveupdated.carriers import Carrier
from liveupdated.config import Config, Update
from liveupdated.session import Store, Target, Verdict, Workload
from liveupdated.update import survey as step
from liveupdated.update.manager import Manager, Progress
from liveupdated.update.plan import Found, Plan, PlanTarget
from liveupdated.update.request import Request
from liveupdated.update.survey import Survey

SLOW = Workload("services:a", "services", "a", Verdict.CARRIED, "because", 1, 9_000_000)
FOUND = Found((SLOW,), (Carrier("disk", Path("/state"), 1 << 40, "it is there"),), 1 << 40)


class Systemd(Manager):
    """Has a plan unit that has nothing left to do, and booted in no time."""

    def __init__(self) -> None:
        pass

    async def run(self, unit: str, step: str, progress: Progress | None = None) -> None:
        pass

    async def unit_property(self, unit: str, interface: str, name: str) -> int:
        return 0


@dataclasses.dataclass(frozen=True)
class Kernel:
    id: str = "7.3"
    release: str = "7.3"
    cmdline: str = "quiet"


@pytest.fixture
def survey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Survey:
    monkeypatch.setattr(step, "read_found", lambda: FOUND)
    config = Config(update=Update(blackout_limits={"services:*": 2.0}))
    return Survey(Systemd(), Store(tmp_path), config)


def made(survey: Survey, target: PlanTarget | None) -> Plan:
    return asyncio.run(survey.plan_for(Request(), target))


def test_an_update_that_would_overrun_a_single_limit_is_blocked(survey: Survey) -> None:
    assert any("over its limit of 2.0 s" in blocker for blocker in made(survey, Kernel()).blockers)


def test_a_rehearsal_has_no_limit_it_is_there_to_find_out(survey: Survey) -> None:
    plan = made(survey, None)
    assert plan.blockers == ("there is no kernel to go to",)
    assert [workload.max_blackout_us for workload in plan.workloads] == [0]


def test_nothing_is_staged_where_no_worker_has_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "STAGED", tmp_path / "staged.json")
    assert step.staged() is None
    (tmp_path / "staged.json").write_text('{"kernel": "half')
    assert step.staged() is None
    (tmp_path / "staged.json").write_text(
        '{"kernel": "7.3", "release": "7.3", "image": "/boot/vmlinuz", "image_sha256": "",'
        ' "initrds": [], "cmdline": "quiet", "token": "t", "method": "kexec_file_load"}'
    )
    assert step.staged() == Target(
        "7.3", "7.3", "/boot/vmlinuz", "", [], "quiet", "t", "kexec_file_load"
    )
