# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is told, and when.  Events are handled one after the other, in the order they came."""

import asyncio
import contextlib
import datetime
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from desktop.agent import words
from desktop.agent.busy import Busy
from desktop.agent.host import Host
from desktop.agent.notifications import Notifications
from liveupdated import contract
from liveupdated.bus import Bus, Signal
from liveupdated.errors import LiveUpdateError

log = logging.getLogger(__name__)

WARNING_S = 10.0
"""From "it starts" to its start, when nothing keeps the user busy."""
POSTPONED_S = 3600.0
TONIGHT = datetime.time(hour=3)
_NEWS_FOR = datetime.timedelta(days=1)
"""What is older when somebody logs in for the first time is no news."""

_STAGED, _STARTING, _RESULT = "staged", "starting", "result"
"""Keys of the notifications: a new one takes the place of the old."""
_SHORT = ("rehearse", "carry")
"""Kinds of jobs after which everything is where it was."""
_WINDOW = "org.liveupdate1.Window"
_BUS = "org.freedesktop.DBus"


class Agent:
    """One for each graphical session."""

    def __init__(self, system: Bus, session: Bus, memory: Path) -> None:
        self._session = session
        self._memory = memory
        """Where the id of the last session that was told of is kept."""
        self._events: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()
        self._host = Host(system, lambda heard: self._soon(lambda: self._on_signal(heard)))
        self._screen = Notifications(session, self._on_action)
        self._busy = Busy(system, session, lambda: self._soon(self._on_busy))
        self._told_kernel = ""
        self._own_job = ""
        """The job that was asked for here."""
        self._called_off = False
        self._before_update = False
        self._actions: set[asyncio.Task[None]] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}

    async def run(self) -> None:
        """Serve until cancelled."""
        await self._host.listen()
        await self._screen.listen()
        await self._busy.listen()
        self._soon(self._on_arrival)
        while True:
            event = await self._events.get()
            try:
                await event()
            except LiveUpdateError as error:  # the daemon went, or nobody may ask it
                log.warning("%s", error)

    def _soon(self, event: Callable[[], Awaitable[None]]) -> None:
        self._events.put_nowait(event)

    def _later(self, key: str, seconds: float, event: Callable[[], Awaitable[None]]) -> None:
        self._forget(key)
        loop = asyncio.get_running_loop()
        self._timers[key] = loop.call_later(seconds, self._soon, event)

    def _forget(self, key: str) -> None:
        timer = self._timers.pop(key, None)
        if timer:
            timer.cancel()

    # --- the daemon ---

    async def _on_signal(self, heard: Signal) -> None:
        match heard.member, heard.args:
            case "PropertiesChanged", [contract.MANAGER, _, _]:
                await self._look()
            case "PrepareForUpdate", [True]:
                await self._on_prepare()
            case "PrepareForUpdate", _:
                await self._on_over()
            case "SessionFinished", [path, state]:
                await self._on_finished(path, state)
            case "JobRemoved", [_, path, result] if path == self._own_job:
                self._own_job = ""
                await self._on_own_end(path, result)
            case "NameOwnerChanged", [_, _, new]:
                self._host.release()
                await (self._on_arrival() if new else self._on_departure())

    async def _on_arrival(self) -> None:
        """The daemon is there: for the first time, or again."""
        if not await self._host.is_there():
            return
        await self._look()
        last = (await self._host.manager())["LastSession"]
        if last != contract.NO_OBJECT:
            await self._tell(await self._host.session(last))
        await self._hold()

    async def _on_departure(self) -> None:
        await self._on_over(again=False)
        await self._screen.close(_STAGED)
        self._told_kernel = ""

    async def _look(self) -> None:
        """Is there a kernel that waits for somebody to say when?"""
        now = await self._host.manager()
        kernel = now["StagedKernel"] if now["State"] == "idle" else ""
        if kernel in ("", "unknown") or now["NextUpdate"]:
            self._told_kernel = ""
            await self._screen.close(_STAGED)
        elif kernel != self._told_kernel:
            self._told_kernel = kernel
            await self._show(_STAGED, words.staged(kernel))

    async def _on_finished(self, path: str, state: str) -> None:
        session = await self._host.session(path)
        # Of a job of our own we tell when it ends, and not what the user called off himself.
        if state == "abandoned" and (self._own_job or self._called_off):
            self._remember(session["Id"])
        await self._tell(session, fresh=True)

    async def _on_own_end(self, path: str, result: str) -> None:
        if result == "failed":
            job = await self._host.properties(path, contract.JOB)
            await self._show(_RESULT, words.refused(job["Error"]))

    async def _tell(self, session: dict[str, Any], fresh: bool = False) -> None:
        """What became of a session, once."""
        state, known = session["State"], self._remembered()
        if session["Id"] == known or state not in words.ENDS:
            return
        self._remember(session["Id"])
        created = datetime.datetime.fromtimestamp(session["Created"] / 1e6, datetime.UTC)
        news = datetime.datetime.now(datetime.UTC) - created < _NEWS_FOR
        # Where nothing jumped, whoever logs in later has missed nothing.
        notice = words.ended(session) if fresh or (news and state != "abandoned") else None
        if notice:
            await self._show(_RESULT, notice)

    def _remembered(self) -> str:
        with contextlib.suppress(OSError):
            return self._memory.read_text()
        return ""

    def _remember(self, session: str) -> None:
        try:
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            self._memory.write_text(session)
        except OSError as error:  # it is told once more then
            log.warning("%s", error)

    # --- before an update ---

    async def _on_prepare(self) -> None:
        self._before_update = True
        path, job = await self._host.job()
        busy = await self._busy.reasons()
        asked_here = path == self._own_job and path
        if job.get("Kind") in _SHORT or (asked_here and not busy):
            self._host.release()
            return
        notice = words.starting(WARNING_S, busy, job.get("Cancellable", False))
        await self._show(_STARTING, notice)
        if not busy:
            self._later(_STARTING, WARNING_S, self._let_go)

    async def _let_go(self) -> None:
        await self._screen.close(_STARTING)
        self._host.release()

    async def _on_over(self, again: bool = True) -> None:
        """It is over, or was called off: ready for the next."""
        self._before_update = self._called_off = False
        self._forget(_STARTING)
        await self._screen.close(_STARTING)
        if again:
            await self._hold()

    async def _on_busy(self) -> None:
        if not self._before_update:
            await self._hold()
        elif _STARTING not in self._timers and not await self._busy.reasons():
            await self._let_go()

    async def _hold(self) -> None:
        if await self._host.is_there():
            busy = await self._busy.reasons()
            await self._host.hold("; ".join(busy) or "the user is told before it starts")

    # --- the user ---

    def _on_action(self, key: str, action: str, token: str) -> None:
        # Apart from the events: somebody may have to type a password first.
        task = asyncio.ensure_future(self._act(action, token))
        self._actions.add(task)
        task.add_done_callback(self._actions.discard)

    async def _act(self, action: str, token: str) -> None:
        try:
            match action:
                case words.UPDATE:
                    self._own_job = await self._host.update(self._told_kernel)
                case words.TONIGHT:
                    await self._host.schedule(_tonight(datetime.datetime.now()))
                case words.DETAILS | words.CLICK:
                    await self._open_window(token)
                case words.POSTPONE:
                    await self._call_off()
                    self._later(words.POSTPONE, POSTPONED_S, self._remind)
                case words.CANCEL:
                    await self._call_off()
        except LiveUpdateError as error:
            await self._show(_RESULT, words.refused(str(error)))

    async def _call_off(self) -> None:
        self._forget(_STARTING)  # the update waits while somebody types a password
        path, _ = await self._host.job()
        if path:
            self._called_off = True
            await self._host.cancel(path)

    async def _remind(self) -> None:
        now = await self._host.manager()
        if now["RebootRequired"] and now["State"] == "idle" and not now["NextUpdate"]:
            await self._show(_STAGED, words.postponed())

    # --- the desktop ---

    async def _show(self, key: str, notice: words.Notice) -> None:
        [names] = await self._session.call(
            _BUS, "/org/freedesktop/DBus", _BUS, "ListActivatableNames"
        )
        await self._screen.show(key, notice if _WINDOW in names else notice.without_details())

    async def _open_window(self, token: str) -> None:
        path = "/" + _WINDOW.replace(".", "/")
        given = {"activation-token": contract.Variant("s", token)} if token else {}
        await self._session.call(
            _WINDOW, path, "org.freedesktop.Application", "Activate", "a{sv}", given
        )


def _tonight(now: datetime.datetime) -> str:
    """The next time it is three in the morning, as a calendar expression (systemd.time(7))."""
    day = now.date() if now.time() < TONIGHT else now.date() + datetime.timedelta(days=1)
    return f"{day} {TONIGHT:%H:%M:%S}"
