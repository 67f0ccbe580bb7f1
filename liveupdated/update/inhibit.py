# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who asked for no update now, or for a little time before one.

As logind's Inhibit() (org.freedesktop.login1(5)): the holder gets the writing end of a pipe, and
the inhibitor lasts until every copy of that descriptor is closed, by hand or by the holder's end.
"""

import asyncio
import contextlib
import os
import select
from dataclasses import dataclass

from liveupdated.errors import Inhibited, InvalidArgument, NoSpace
from liveupdated.update.events import Listener

MODES = ("block", "delay")
MAX_INHIBITORS = 1024
"""Each costs this process one descriptor; logind allows 8192."""
MAX_WORDS = 1000
"""They are kept, and sent to everybody who asks."""

END_S = 0.02
"""A process that ends closes its descriptors a moment before it is gone."""


@dataclass(frozen=True)
class Inhibitor:
    """One held inhibitor."""

    who: str
    why: str
    mode: str
    uid: int
    pid: int


class Inhibitors:
    """All that are held now."""

    def __init__(self) -> None:
        self.listener = Listener()
        self._held: dict[int, Inhibitor] = {}
        self._processes: dict[int, int] = {}
        """Of each that delays: a descriptor of its holder's process (pidfd_open(2))."""
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._ended: list[Inhibitor] = []

    def held(self, mode: str | None = None) -> list[Inhibitor]:
        """Those of `mode`, or all, oldest first."""
        return [i for i in self._held.values() if mode in (None, i.mode)]

    def take(self, inhibitor: Inhibitor) -> int:
        """Hold `inhibitor`; returns the descriptor to give away, which the caller must close.

        Raises InvalidArgument for a mode other than `block` and `delay` and for more than
        MAX_WORDS characters, NoSpace when there are too many.
        """
        if max(len(inhibitor.who), len(inhibitor.why)) > MAX_WORDS:
            raise InvalidArgument(f"who and why may have {MAX_WORDS} characters each")
        if inhibitor.mode not in MODES:
            raise InvalidArgument(
                f"inhibitor mode {inhibitor.mode!r} is unknown", "", "use block or delay"
            )
        if len(self._held) >= MAX_INHIBITORS:
            raise NoSpace("there are too many inhibitors", f"{MAX_INHIBITORS} are held", "")
        ours, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._held[ours] = inhibitor
        if inhibitor.mode == "delay":
            self._quiet.clear()
            with contextlib.suppress(OSError):  # it has ended already
                self._processes[ours] = os.pidfd_open(inhibitor.pid)
        # End of file, and so readable, once nobody holds the other end.
        asyncio.get_running_loop().add_reader(ours, self._readable, ours)
        self.listener.inhibitors_changed()
        return theirs

    def refuse_if_blocked(self) -> None:
        """Raises Inhibited, naming the holders, when somebody holds a `block` inhibitor."""
        blocks = self.held("block")
        if blocks:
            raise Inhibited(
                "updates are inhibited",
                "; ".join(f"{i.who} (uid {i.uid}): {i.why}" for i in blocks),
                "wait until it is released, or end its holder",
            )

    async def wait_for_delays(self, limit_s: float) -> list[str]:
        """Wait until no delay inhibitor is held, `limit_s` at most.

        Returns, in sentences, who did not release it in time, and who ended instead.
        """
        self._ended.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._quiet.wait(), limit_s)
        late = [
            f"{i.who} (pid {i.pid}) has not released its delay inhibitor within {limit_s:g} s"
            for i in self.held("delay")
        ]
        ended = [f"{i.who} (pid {i.pid}) ended with its delay inhibitor" for i in self._ended]
        return late + ended

    def close(self) -> None:
        """Forget all of them; for the daemon's end."""
        for fd in list(self._held):
            self._drop(fd)

    def _readable(self, fd: int) -> None:
        try:
            data = os.read(fd, 4096)
        except BlockingIOError:
            return
        if not data:  # what a holder writes is thrown away
            self._drop(fd)
            self.listener.inhibitors_changed()

    def _drop(self, fd: int) -> None:
        asyncio.get_running_loop().remove_reader(fd)
        os.close(fd)
        inhibitor = self._held.pop(fd)
        process = self._processes.pop(fd, -1)
        if process >= 0:
            if select.select([process], [], [], END_S)[0]:
                self._ended.append(inhibitor)
            os.close(process)
        if not self.held("delay"):
            self._quiet.set()
