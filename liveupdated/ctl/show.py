# SPDX-License-Identifier: LGPL-2.1-or-later
"""The commands that change nothing.

Rich and the bus are imported where they are used: `--help` needs neither, `--json` no rich.
"""
# ruff: noqa: PLC0415

import sys
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import click

from liveupdated.ctl import options
from liveupdated.ctl.exits import Exit
from liveupdated.errors import NotFound

if TYPE_CHECKING:
    from liveupdated.ctl.shapes import Plan, Status


@click.command()
@options.as_json
def status(as_json: bool) -> None:
    """What goes on, and whether an update is due.

    \b
    Example:
      liveupdatectl status
    """
    from liveupdated.ctl import brief, glance

    found = glance.status() or _status_in_full()
    if as_json:
        return options.print_json(found)
    brief.show(found)


def _status_in_full() -> "Status":
    from liveupdated.ctl.client import Client, ask

    return ask(Client.status)


@click.command()
@options.as_json
def kernels(as_json: bool) -> None:
    """What can be booted, newest first.

    \b
    Example:
      liveupdatectl kernels
    """
    from liveupdated.ctl.client import Client, ask

    found = ask(Client.kernels)
    if as_json:
        return options.print_json(found)
    from liveupdated.ctl import render

    render.show(render.kernels(found))


@click.command()
@click.option("--why", metavar="NAME", help="Only these, by name or id or pattern: who decided?")
@options.as_json
def workloads(why: str | None, as_json: bool) -> None:
    """What runs here, and what an update would do to it.

    \b
    Example:
      liveupdatectl workloads --why redis-server.service
    """
    from liveupdated.ctl.client import Client, ask

    found = ask(Client.workloads)
    if why is not None:
        found = [w for w in found if fnmatchcase(w["name"], why) or fnmatchcase(w["id"], why)]
        if not found:
            raise NotFound(
                f"no workload is called {why}", "", "`liveupdatectl workloads` lists all"
            )
    if as_json:
        return options.print_json(found)
    from liveupdated.ctl import render

    render.show(render.workloads(found) if why is None else render.why(found))


@click.command()
@options.planning
@click.option("--all", "everything", is_flag=True, help="Also what every boot starts anyway.")
@options.as_json
def plan(
    *,
    kernel: str | None,
    rung: str | None,
    accept_loss: tuple[str, ...],
    max_blackout: int | None,
    everything: bool,
    as_json: bool,
) -> None:
    """What an update would do.  Exits with 7 when it would be refused.

    \b
    Example:
      liveupdatectl plan --max-blackout 30s
    """
    from liveupdated.ctl.client import ask

    given = {"kernel": kernel, "rung": rung, "max-blackout": max_blackout}
    wire = options.on_the_wire({**given, "accept-loss": accept_loss})
    found = ask(lambda client: client.plan(wire))
    print_plan(found, everything, as_json)


def print_plan(found: "Plan", everything: bool, as_json: bool) -> None:
    """Print it, and exit with the code of a refusal where there is a blocker."""
    if as_json:
        options.print_json(found)
    else:
        from liveupdated.ctl import render

        render.show(render.plan(found, everything))
    if found["blockers"]:
        sys.exit(Exit.BLOCKED)


@click.command()
@click.argument("session", metavar="[SESSION]", default="")
@options.as_json
def history(session: str, as_json: bool) -> None:
    """All updates, or what became of one and of each workload.

    SESSION is an id, the beginning of one, or `last`.

    \b
    Example:
      liveupdatectl history last
    """
    from liveupdated.ctl.client import Client, ask

    if session:
        one = ask(lambda client: client.session(session))
        if as_json:
            return options.print_json(one)
        from liveupdated.ctl import render

        return render.show(render.session(one))
    every = ask(Client.sessions)
    if as_json:
        return options.print_json(every)
    from liveupdated.ctl import render

    render.show(render.sessions(every))


@click.command()
@click.argument("session", metavar="[SESSION]", default="last")
@options.as_json
def timeline(session: str, as_json: bool) -> None:
    """Where the time went, phase by phase.

    SESSION is an id, the beginning of one, or `last`.

    \b
    Example:
      liveupdatectl timeline
    """
    from liveupdated.ctl.client import ask

    found = ask(lambda client: client.timeline(session))
    if as_json:
        return options.print_json(found)
    from liveupdated.ctl import render

    render.show(render.timeline(found))
