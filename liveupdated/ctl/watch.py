# SPDX-License-Identifier: LGPL-2.1-or-later
"""One job from its start to its end, or to the jump that ends everything.

A jump stops the daemon, the bus and us, in no particular order.  What tells it from a crash is that
the job had passed its point of no return (its property Cancellable) before.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

from liveupdated import contract
from liveupdated.bus import Signal
from liveupdated.ctl.client import Client
from liveupdated.ctl.progress import Display
from liveupdated.ctl.report import say, sentence
from liveupdated.ctl.shapes import Ending
from liveupdated.errors import (
    Cancelled,
    Disconnected,
    LiveUpdateError,
    ServiceError,
    by_dbus_name,
)

_JUMPERS = ("Update", "Rollback")
_QUICK_S = 5.0
"""Properties are answered at once, or by nobody: a jump may be under way."""
_BUS = "org.freedesktop.DBus"


async def run_job(
    client: Client, display: Display, member: str, signature: str, *args: Any
) -> Ending:
    """Call the manager's `member`, which starts a job, and see it through.

    Raises the job's own error when it failed, Cancelled when somebody cancelled it, Disconnected
    when the daemon went away for another reason than the jump.
    """
    watch = _Watch(client, display, jumps=member in _JUMPERS)
    await watch.listen()
    number, path = await client.call(member, signature, *args)
    with display:
        async with _signals(watch):
            return await watch.follow(number, path)


class _Watch:
    def __init__(self, client: Client, display: Display, jumps: bool) -> None:
        self.client = client
        self.display = display
        self.jumps = jumps
        self.path = ""
        # By path of the job: signals can overtake the reply that names it.
        self.properties: dict[str, dict[str, Any]] = {}
        self.results: dict[str, str] = {}
        self.daemon_gone = False
        self.terminated: signal.Signals | None = None
        self.interrupted = False
        self.warned = False
        self.past_return = False
        """The job can end in the jump only, or fail."""
        self.session = ""
        self.kernel = ""
        self.learned: tuple[str, bool] | None = None
        self.wake = asyncio.Event()

    async def listen(self) -> None:
        """Hear the signals of all jobs, from before ours starts."""
        bus = self.client.bus
        await bus.subscribe(
            contract.NAME, contract.ROOT, contract.MANAGER, "JobRemoved", self._removed
        )
        await bus.subscribe(
            contract.NAME, "", f"{_BUS}.Properties", "PropertiesChanged", self._changed
        )
        await bus.subscribe(_BUS, "/org/freedesktop/DBus", _BUS, "NameOwnerChanged", self._owner)
        bus.disconnected.add_done_callback(lambda _: self._gone())

    def _removed(self, heard: Signal) -> None:
        _, path, result = heard.args
        self.results[path] = result
        self.wake.set()

    def _changed(self, heard: Signal) -> None:
        interface, values, _ = heard.args
        if interface == contract.JOB:
            self.properties.setdefault(heard.path, {}).update(values)
            self.wake.set()

    def _owner(self, heard: Signal) -> None:
        name, old, _ = heard.args
        if name == contract.NAME and old:
            self._gone()

    def _gone(self) -> None:
        self.daemon_gone = True
        self.wake.set()

    async def follow(self, number: int, path: str) -> Ending:
        self.path = path
        await self._read()
        while True:
            await self._learn()
            self.display.show(self._value("Step", ""), self._value("Progress", 0.0))
            if path in self.results:
                return await self._ended(number)
            if self.daemon_gone or self.terminated:
                return self._cut_off(number)
            if self.interrupted:
                await self._interrupted()
            await self.wake.wait()
            self.wake.clear()

    def _value(self, name: str, default: Any) -> Any:
        return self.properties.get(self.path, {}).get(name, default)

    async def _read(self) -> None:
        """The job's properties as they are; what signals already told is at least as new."""
        found = await self._ask(self.path, contract.JOB)
        self.properties[self.path] = found | self.properties.get(self.path, {})

    async def _ask(self, path: str, interface: str) -> dict[str, Any]:
        """The properties of an object; none where it, or the daemon, is gone."""
        with contextlib.suppress(ServiceError, TimeoutError):
            return await asyncio.wait_for(self.client.properties(path, interface), _QUICK_S)
        return {}

    async def _learn(self) -> None:
        """What must be known when nobody is left to tell it: is it too late, where does it go?"""
        # A job that is over cannot be cancelled either.
        if self._value("Cancellable", True) is False and not self._value("Result", ""):
            self.past_return = self.jumps
        now = (self._value("Session", contract.NO_OBJECT), self.past_return)
        if now != self.learned and now[0] != contract.NO_OBJECT:
            self.learned = now
            found = await self._ask(now[0], contract.SESSION)
            self.session = found.get("Id", self.session)
            self.kernel = found.get("TargetKernel", self.kernel)

    async def _ended(self, number: int) -> Ending:
        result = self.results[self.path]
        if result == "done":
            return self._ending("jumping" if self.past_return else "done", number)
        await self._read()
        name = str(self._value("ErrorName", "")).removeprefix(contract.ERRORS)
        text = self._value("Error", "") or f"the job ended as {result}"
        if result == "canceled":
            raise Cancelled(text)
        raise by_dbus_name(name)(text)

    def _cut_off(self, number: int) -> Ending:
        if self.past_return:
            return self._ending("jumping", number)
        if self.terminated:
            # As if we had never listened.  The job goes on: it is the daemon's.
            signal.signal(self.terminated, signal.SIG_DFL)
            os.kill(os.getpid(), self.terminated)
        raise Disconnected(
            "the daemon went away during the job",
            "its unit ended or was restarted",
            "journalctl -u liveupdated.service; liveupdatectl history last",
        )

    def _ending(self, result: str, number: int) -> Ending:
        return Ending(
            result=result, job=number, session=self.session, kernel=self.kernel, next_update_us=0
        )

    async def _interrupted(self) -> None:
        """Ctrl-C: on a terminal the second one counts, elsewhere the first."""
        self.interrupted = False
        if sys.stdin.isatty() and not self.warned:
            self.warned = True
            say("press Ctrl-C again to cancel the job")
            return
        # Who presses it once more does not want to wait for the undoing.
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
        try:
            await self.client.call_on(self.path, contract.JOB, "Cancel")
            say("cancelling: what was done is being undone")
        except LiveUpdateError as error:
            say(sentence(error))

    def interrupt(self) -> None:
        self.interrupted = True
        self.wake.set()

    def terminate(self, number: signal.Signals) -> None:
        self.terminated = number
        self.wake.set()


@contextlib.asynccontextmanager
async def _signals(watch: _Watch) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, watch.interrupt)
    # A shutdown ends the session of whoever typed the command.
    ends = (signal.SIGTERM, signal.SIGHUP)
    for number in ends:
        loop.add_signal_handler(number, watch.terminate, number)
    try:
        yield
    finally:
        for number in (signal.SIGINT, *ends):
            loop.remove_signal_handler(number)
