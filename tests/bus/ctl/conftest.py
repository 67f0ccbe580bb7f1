# SPDX-License-Identifier: LGPL-2.1-or-later
"""The command as a process of its own, against the daemon on the private bus."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.bus.conftest import World

PROGRAM = (sys.executable, "-m", "liveupdated.ctl.main")


@dataclass
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.out, self.err
        return json.loads(self.out)


@dataclass
class Command:
    """`liveupdatectl` on the bus of a world."""

    world: World

    @property
    def environment(self) -> dict[str, str]:
        library = self.world.modules["liveupdated.bus"]._lib.__name__
        return {**self.world.system.environment(), "LIVEUPDATED_DBUS": library, "TZ": "UTC"}

    async def __call__(self, *words: str) -> Done:
        async with self.running(*words) as process:
            out, err = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode is not None
        return Done(process.returncode, out.decode(), err.decode())

    @asynccontextmanager
    async def running(
        self, *words: str, **variables: str
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            *PROGRAM,
            *words,
            env={**self.environment, **variables},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


@pytest.fixture
def ctl(world: World) -> Command:
    return Command(world)


class Terminal:
    """The command on a terminal: what is typed, and what is read."""

    def __init__(self, master: int, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.text = ""
        self._master = master
        self._more = asyncio.Event()
        asyncio.get_running_loop().add_reader(master, self._read)

    def _read(self) -> None:
        try:
            self.text += os.read(self._master, 65536).decode(errors="replace")
        except OSError:  # EIO: nobody has the other end open any more
            asyncio.get_running_loop().remove_reader(self._master)
        self._more.set()

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    async def until(self, text: str) -> None:
        """Wait until `text` was printed."""

        async def look() -> None:
            while text not in self.text:
                self._more.clear()
                await self._more.wait()

        try:
            await asyncio.wait_for(look(), 60)
        except TimeoutError:
            raise AssertionError(f"{text!r} was not printed, but: {self.text}") from None

    async def end(self) -> int:
        return await asyncio.wait_for(self.process.wait(), 60)


OpenTerminal = Callable[..., Awaitable[Terminal]]


@pytest.fixture
async def terminal(ctl: Command) -> AsyncIterator[OpenTerminal]:
    opened: list[tuple[Terminal, int]] = []

    async def open_terminal(*words: str) -> Terminal:
        master, slave = os.openpty()
        process = await asyncio.create_subprocess_exec(
            *("setsid", "--ctty", "--wait", *PROGRAM, *words),
            env={**ctl.environment, "TERM": "xterm", "COLUMNS": "120"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        opened.append((Terminal(master, process), master))
        return opened[-1][0]

    yield open_terminal
    for used, master in opened:
        asyncio.get_running_loop().remove_reader(master)
        os.close(master)  # hangs up on whoever is left
        await used.end()
