# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the commands' options have in common, and how they go onto the bus."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from liveupdated.ctl import units
from liveupdated.ctl.report import Reported
from liveupdated.errors import LiveUpdateError

if TYPE_CHECKING:
    from liveupdated.contract import Variant

F = TypeVar("F", bound=Callable[..., Any])

RUNGS = ("soft-reboot", "live-update", "cold-reboot")
STOPS = ("quick", "orderly")


def _duration(text: str) -> int:
    try:
        return units.parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}; write for example 30s or 1min 30s") from error


class Commands(click.Group):
    """Turns errors of ours into what click shows and exits with."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LiveUpdateError as error:
            raise Reported(error) from error


as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
yes = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
append = click.option("--append", metavar="WORDS", help="Add to the new kernel's command line.")
accept_loss = click.option(
    "--accept-loss",
    multiple=True,
    metavar="PATTERN",
    help="Workloads that may be lost, by id or name; may be given more than once; * for all.",
)
max_blackout = click.option(
    "--max-blackout",
    type=_duration,
    metavar="DURATION",
    help="Refuse when a workload is predicted to be away for longer, or turns out to be.",
)

stop = click.option(
    "--stop",
    type=click.Choice(STOPS),
    help="How the old system ends: all at once, or each service in order.",
)


def planning(command: F) -> F:
    """The options that `plan` and `update` share."""
    for option in (
        stop,
        max_blackout,
        accept_loss,
        click.option("--rung", type=click.Choice(RUNGS), help="Not the cheapest, but this way."),
        click.option("--kernel", metavar="ID", help="Not the newest, but this one."),
    ):
        command = option(command)
    return command


def print_json(shape: object) -> None:
    """The one thing on stdout."""
    click.echo(json.dumps(shape, indent=2, ensure_ascii=False))


def on_the_wire(given: Mapping[str, str | int | Sequence[str] | None]) -> "dict[str, Variant]":
    """Options as ``a{sv}``.  What was not given is not sent: the daemon's default holds."""
    from liveupdated.contract import Variant  # noqa: PLC0415 - the bus only when it is needed

    def typed(value: str | int | Sequence[str]) -> Variant:
        if isinstance(value, str):
            return Variant("s", value)
        return Variant("t", value) if isinstance(value, int) else Variant("as", list(value))

    return {name: typed(value) for name, value in given.items() if value}
