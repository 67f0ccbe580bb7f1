# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the session agent tells, and when it asks for time."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from desktop.agent import agent as agent_module
from desktop.agent import words
from desktop.agent.agent import Agent
from liveupdated.session import Outcome, Session, State
from tests.bus.conftest import World
from tests.bus.fakes import make_session
from tests.bus.session_bus import WINDOW, Desktop, session_bus

READY = "Linux 7.3.4 is ready"
STARTS = "The system moves onto another kernel"
LOGOUT, SUSPEND, IDLE = 1, 4, 8


@pytest.fixture(scope="session")
def user_bus() -> Iterator[str]:
    with session_bus() as address:
        yield address


@dataclass
class Desk:
    """A user's session with an agent in it, beside a daemon."""

    world: World
    desktop: Desktop
    memory: Path
    agent: Agent
    task: asyncio.Task[None]

    @property
    def screen(self) -> list[str]:
        return [title for title, _, _ in self.desktop.shown.values()]

    def body(self, title: str) -> str:
        [body] = [body for shown, body, _ in self.desktop.shown.values() if shown == title]
        return body

    def actions(self, title: str) -> list[str]:
        [keys] = [keys for shown, _, keys in self.desktop.shown.values() if shown == title]
        return keys

    def held(self) -> list[str]:
        return [i.why for i in self.world.backend.inhibitors.held("delay")]

    async def press(self, title: str, action: str) -> None:
        """Press a button, as nobody does before the agent has heard that it is shown."""
        number = self.desktop.number(title)
        await until(lambda: number in self.agent._screen._ids.values())
        self.desktop.press(number, action)

    async def stage(self) -> None:
        self.world.backend.staged_kernel = "7.3.4"
        self.world.backend.listener.changed("StagedKernel")
        await until(lambda: self.screen == [READY])

    def finish(self, session: Session) -> None:
        self.world.backend.known_sessions = [session]
        self.world.backend.last_session = session.id
        self.world.backend.listener.session_changed(session)
        self.world.backend.listener.session_finished(session)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def quiet() -> None:
    """Long enough for what should not happen."""
    await asyncio.sleep(0.3)


@pytest.fixture
async def start(
    world: World, user_bus: str, tmp_path: Path
) -> AsyncIterator[Callable[[], Awaitable[Desk]]]:
    """A function that lets the user log in."""
    bus_class = world.modules["liveupdated.bus"].Bus
    desktop = Desktop(await bus_class.connect(user_bus))
    await desktop.start()
    system = await bus_class.connect(world.system.address)
    session = await bus_class.connect(user_bus)
    memory = tmp_path / "state/told"
    agent = Agent(system, session, memory)
    desk = Desk(world, desktop, memory, agent, asyncio.ensure_future(asyncio.sleep(0)))

    async def log_in() -> Desk:
        desk.task = asyncio.ensure_future(agent.run())
        await until(lambda: desk.held() != [])
        return desk

    yield log_in
    while not desk.task.done():
        # Before Python 3.12 wait_for() loses a cancellation that comes together with an answer.
        desk.task.cancel()
        await asyncio.wait([desk.task], timeout=0.1)
    for bus in (system, session, desktop.bus):
        await bus.close()
    assert desk.task.cancelled()


@pytest.fixture
async def desk(start: Callable[[], Awaitable[Desk]]) -> Desk:
    return await start()


async def test_a_staged_kernel_is_told_once_and_gone_with_it(desk: Desk) -> None:
    await desk.stage()
    desk.world.backend.listener.changed("StagedKernel", "Rung")
    await quiet()
    assert desk.desktop.titles == [READY]
    desk.world.backend.staged_kernel = ""
    desk.world.backend.listener.changed("StagedKernel")
    await until(lambda: not desk.screen)


async def test_a_kernel_that_a_running_update_loads_is_not_told(desk: Desk) -> None:
    desk.world.backend.state = "saving"
    desk.world.backend.staged_kernel = "7.3.4"
    desk.world.backend.listener.changed("StagedKernel", "State")
    await quiet()
    assert desk.desktop.titles == []


async def test_update_now_updates_to_that_kernel_and_asks_nothing_more(desk: Desk) -> None:
    await desk.stage()
    await desk.press(READY, words.UPDATE)
    await until(lambda: bool(desk.world.backend.asked[1:]))
    kind, request = desk.world.backend.asked[-1]
    assert (kind, getattr(request, "kernel", "")) == ("update", "7.3.4")
    await quiet()
    desk.world.backend.listener.prepare_for_update(True)
    await until(lambda: not desk.held())
    assert STARTS not in desk.desktop.titles


async def test_why_an_update_from_here_failed_is_told(desk: Desk) -> None:
    await desk.stage()
    await desk.press(READY, words.UPDATE)
    await until(lambda: bool(desk.world.backend.asked[1:]))
    await quiet()
    desk.world.backend.fault = RuntimeError("a & b")
    desk.world.backend.finish.set()
    await until(lambda: "The system was not updated" in desk.screen)


async def test_tonight_is_a_schedule_and_the_question_is_answered(desk: Desk) -> None:
    await desk.stage()
    await desk.press(READY, words.TONIGHT)
    await until(lambda: desk.world.backend.next_update_us > 0)
    _, calendar = desk.world.backend.asked[-1]
    assert time.strptime(str(calendar), "%Y-%m-%d 03:00:00")
    await quiet()
    assert desk.screen == []


async def test_with_a_schedule_there_is_no_question(desk: Desk) -> None:
    desk.world.backend.next_update_us = 1
    desk.world.backend.staged_kernel = "7.3.4"
    desk.world.backend.listener.changed("StagedKernel")
    await quiet()
    assert desk.desktop.titles == []


async def test_details_open_the_window_where_there_is_one(desk: Desk) -> None:
    await desk.stage()
    assert desk.actions(READY) == [
        words.UPDATE,
        words.TONIGHT,
    ]  # nothing on this bus can be activated
    await desk.press(READY, words.CLICK)
    await until(lambda: desk.desktop.opened == [{"activation-token": "token"}])
    assert WINDOW == agent_module._WINDOW


async def test_before_an_update_there_is_time_to_call_it_off(desk: Desk) -> None:
    await desk.world.call("Update", "a{sv}", {})
    desk.world.backend.listener.prepare_for_update(True)
    await until(lambda: desk.screen == [STARTS])
    assert desk.actions(STARTS) == [words.POSTPONE, words.CANCEL]
    assert desk.held() != []
    await desk.press(STARTS, words.CANCEL)
    await until(lambda: desk.world.backend.jobs.current is None)
    desk.finish(make_session("called-off", State.ABANDONED))
    desk.world.backend.listener.prepare_for_update(False)
    await quiet()
    assert desk.screen == []
    assert desk.held() == ["the user is told before it starts"]


async def test_a_postponed_update_is_offered_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_module, "POSTPONED_S", 0.1)
    await desk.world.call("Update", "a{sv}", {})
    desk.world.backend.listener.prepare_for_update(True)
    await until(lambda: desk.screen == [STARTS])
    await desk.press(STARTS, words.POSTPONE)
    await until(lambda: "The update was postponed" in desk.screen)


async def test_nobody_calls_it_off_and_it_starts(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_module, "WARNING_S", 0.2)
    await desk.world.call("Update", "a{sv}", {})
    desk.world.backend.listener.prepare_for_update(True)
    await until(lambda: desk.screen == [STARTS])
    await until(lambda: not desk.held() and not desk.screen)


async def test_a_rehearsal_disturbs_nobody(desk: Desk) -> None:
    await desk.world.call("Rehearse", "a{sv}", {})
    desk.world.backend.listener.prepare_for_update(True)
    await until(lambda: not desk.held())
    desk.world.backend.listener.prepare_for_update(False)
    await until(lambda: desk.held() != [])
    assert desk.desktop.titles == []


async def test_whoever_is_busy_keeps_the_update_waiting(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_module, "WARNING_S", 0.1)
    desk.desktop.inhibit("Inhibitor1", IDLE, "In a call")
    desk.desktop.inhibit("Inhibitor2", LOGOUT, "Unsaved <letter>")
    desk.desktop.inhibit("Inhibitor3", SUSPEND, "Copying files")
    await until(lambda: desk.held() == ["In a call; Unsaved <letter>"])
    await desk.world.call("Update", "a{sv}", {})
    desk.world.backend.listener.prepare_for_update(True)
    await until(lambda: desk.screen == [STARTS])
    assert "In a call; Unsaved &lt;letter&gt;" in desk.body(STARTS)
    desk.desktop.uninhibit("Inhibitor1")
    await quiet()
    assert desk.held() != []
    desk.desktop.uninhibit("Inhibitor2")
    await until(lambda: not desk.held() and not desk.screen)


async def test_after_the_jump_it_is_told_what_did_not_come_back(
    start: Callable[[], Awaitable[Desk]], world: World
) -> None:
    session = make_session("new", State.DEGRADED)
    session.created_us = time.time_ns() // 1000
    failed = replace(session.workloads[1], outcome=Outcome.FAILED, outcome_reason="no memory")
    session.workloads[1] = failed
    world.backend.known_sessions = [session]
    world.backend.last_session = "new"
    await world.daemon._objects.read_all()
    desk = await start()
    title = "Updated to Linux 7.3.4, with problems"
    await until(lambda: desk.screen == [title])
    assert desk.body(title).endswith("Back: 1 carried.\nNot back: redis1.service (no memory).")
    assert desk.memory.read_text() == "new"


async def test_what_ended_long_ago_is_no_news(
    start: Callable[[], Awaitable[Desk]], world: World
) -> None:
    world.backend.known_sessions = [make_session("old")]
    world.backend.last_session = "old"
    await world.daemon._objects.read_all()
    desk = await start()
    await quiet()
    assert desk.desktop.titles == []


async def test_a_session_is_told_once(desk: Desk) -> None:
    session = make_session("one")
    desk.finish(session)
    await until(lambda: desk.screen == ["Updated to Linux 7.3.4"])
    desk.finish(session)
    await quiet()
    assert len(desk.desktop.titles) == 1


async def test_a_daemon_that_comes_again_is_delayed_again(desk: Desk) -> None:
    await desk.stage()
    world = desk.world
    await world.server.call(
        "org.freedesktop.DBus", "/", "org.freedesktop.DBus", "ReleaseName", "s", "org.liveupdate1"
    )
    await until(lambda: not desk.screen and not desk.held())
    await world.server.request_name("org.liveupdate1")
    await until(lambda: desk.screen == [READY] and desk.held() != [])
