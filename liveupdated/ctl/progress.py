# SPDX-License-Identifier: LGPL-2.1-or-later
"""How a job's progress shows, on stderr: a bar on a terminal, lines elsewhere."""

import sys
from types import TracebackType
from typing import Protocol

from liveupdated.ctl.report import say
from liveupdated.ctl.units import plain


class Display(Protocol):
    """Entered when the job runs, left when it is over."""

    def show(self, step: str, done: float) -> None:
        """`step` is being done, and `done` of it (0 to 1) is."""

    def __enter__(self) -> "Display": ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def display() -> Display:
    """The one that fits where stderr goes."""
    return Bar() if sys.stderr.isatty() else Lines()


class Lines:
    """A line whenever the step changes."""

    def __init__(self) -> None:
        self._step = ""

    def show(self, step: str, done: float) -> None:
        if step and step != self._step:
            self._step = step
            say(plain(step))

    def __enter__(self) -> "Lines":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass


class Bar:
    """One line that moves; what was said before it stays above."""

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - slow to import
        from rich.progress import (  # noqa: PLC0415
            BarColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
        )

        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            console=Console(stderr=True, markup=False, highlight=False),
            transient=True,
        )
        self._task = self._progress.add_task("starting", total=1.0)

    def show(self, step: str, done: float) -> None:
        if step:
            self._progress.update(self._task, description=plain(step), completed=done)

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()
