# SPDX-License-Identifier: LGPL-2.1-or-later
"""What somebody who watches the demo sees: parts with their times, commands, what is going on."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

BOLD, DIM, RED, GREEN, YELLOW = "1", "2", "31", "32", "33"
_TICK_S = 1.0
_PATIENCE_S = 60.0
"""So often a log is told that a part is still at work; a terminal is told every second."""


class Screen:
    """Prints on stdout: in color and with a running clock on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self.live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self._color = self.live and not os.environ.get("NO_COLOR")
        self._lock = threading.Lock()
        self._doing = ""
        self._since = 0.0
        self.times: list[tuple[str, float]] = []
        """Every part, finished or broken off, with the seconds that it took."""

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """One part of the demo, from its heading to the time that it took."""
        number = len(self.times) + 1
        self.say(f"\n{number}. {name}", BOLD)
        self._doing, self._since = "", time.monotonic()
        over = threading.Event()
        clock = threading.Thread(target=self._tick, args=(over,), daemon=True)
        clock.start()
        try:
            yield
        finally:
            over.set()
            clock.join()
            took = time.monotonic() - self._since
            self.times.append((name, took))
            self.say(f"   ({took:.1f} s)", DIM)

    def say(self, text: str, *styles: str) -> None:
        """Print whole lines."""
        with self._lock:
            self._wipe()
            print(self.styled(text, *styles), flush=True)

    def doing(self, text: str) -> None:
        """What is being done now; said when it changes."""
        if text == self._doing:
            return
        self._doing = text
        if not self.live:
            self.say(f"   ... {text}")

    def command(self, command: str, output: str, code: int = 0) -> None:
        """A command of the machine's root and what it printed."""
        self.say(f"   lab# {command}", YELLOW)
        for line in output.rstrip().splitlines():
            self.say(f"   {line}".rstrip())
        if code:
            self.say(f"   [exit code {code}]", RED)

    def styled(self, text: str, *styles: str) -> str:
        if not self._color or not styles:
            return text
        return f"\x1b[{';'.join(styles)}m{text}\x1b[0m"

    def _wipe(self) -> None:
        if self.live:
            print("\r\x1b[K", end="")

    def _tick(self, over: threading.Event) -> None:
        told = 0.0
        while not over.wait(_TICK_S):
            passed = time.monotonic() - self._since
            if self.live:
                with self._lock:
                    self._wipe()
                    clock = f"   {self._doing} ... {passed:.0f} s"
                    print(self.styled(clock[: _width() - 1], DIM), end="", flush=True)
            elif passed - told >= _PATIENCE_S:
                told = passed
                self.say(f"   ... {passed:.0f} s")


def _width() -> int:
    return os.get_terminal_size(sys.stdout.fileno()).columns
