# SPDX-License-Identifier: LGPL-2.1-or-later
"""The one place that turns an error into a sentence and an exit code."""

from typing import IO, Any

import click

from liveupdated.ctl.units import plain
from liveupdated.errors import LiveUpdateError


def sentence(error: LiveUpdateError) -> str:
    """What, why and, on a line of its own, the way out."""
    text = f"liveupdatectl: {plain(error.what)}"
    if error.why:
        text += f": {plain(error.why)}"
    if error.hint:
        text += f"\n  hint: {plain(error.hint)}"
    return text


class Reported(click.ClickException):
    """An error of ours in the form that click prints on stderr and exits with."""

    def __init__(self, error: LiveUpdateError) -> None:
        super().__init__(sentence(error))
        # click declares it of the class, and reads it of the instance.
        setattr(self, "exit_code", error.exit_code)  # noqa: B010

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.message, file=file, err=file is None)


def say(text: str) -> None:
    """A message that is not the result: on stderr, so that stdout stays JSON or a table."""
    click.echo(text, err=True)
