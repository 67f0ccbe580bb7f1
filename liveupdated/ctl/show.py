# SPDX-License-Identifier: LGPL-2.1-or-later
"""The commands that change nothing.

Rich and the bus are imported where they are used: `--help` needs neither, `--json` no rich.
"""
# ruff: noqa: PLC0415

import sys
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import click

from liveupdated.ctl import files, options
from liveupdated.ctl.exits import Exit
from liveupdated.ctl.files import OutputFile
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
    stop: str | None,
    everything: bool,
    as_json: bool,
) -> None:
    """What an update would do.  Exits with 7 when it would be refused.

    \b
    Example:
      liveupdatectl plan --max-blackout 30s
    """
    from liveupdated.ctl.client import ask

    given = {"kernel": kernel, "rung": rung, "max-blackout": max_blackout, "stop": stop}
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
@click.option(
    "--plot",
    type=OutputFile(".svg"),
    metavar="FILE",
    help="Draw the blackouts of all sessions, as SVG; - is standard output.",
)
@options.as_json
def history(session: str, plot: str | None, as_json: bool) -> None:
    """All updates, or what became of one and of each workload.

    SESSION is an id, the beginning of one, or `last`.

    \b
    Examples:
      liveupdatectl history last
      liveupdatectl history --plot trend.svg
    """
    from liveupdated.ctl.client import Client, ask

    if session:
        if plot:
            raise click.UsageError(
                "history --plot is about all sessions; timeline --plot about one"
            )
        one = ask(lambda client: client.session(session))
        if as_json:
            return options.print_json(one)
        from liveupdated.ctl import render

        return render.show(render.session(one))
    _one_answer(as_json, plot)
    every = ask(Client.sessions)
    if as_json:
        return options.print_json(every)
    if plot:
        from liveupdated.ctl.plot import svg, trend

        return files.write(plot, svg.document(trend.draw(every)))
    from liveupdated.ctl import render

    render.show(render.sessions(every))


@click.command()
@click.argument("session", metavar="[SESSION]", default="last")
@click.option(
    "--plot",
    type=OutputFile(".svg"),
    metavar="FILE",
    help="Draw it as SVG, for a browser or a document; - is standard output.",
)
@click.option(
    "--html",
    type=OutputFile(".html", ".htm"),
    metavar="FILE",
    help="Write a report: the picture, workloads, phases and notes; - is standard output.",
)
@options.as_json
def timeline(session: str, plot: str | None, html: str | None, as_json: bool) -> None:
    """Where the time went, phase by phase.

    SESSION is an id, the beginning of one, or `last`.

    \b
    Examples:
      liveupdatectl timeline
      liveupdatectl timeline last --plot update.svg --html update.html
    """
    from liveupdated.ctl.client import ask

    _one_answer(as_json, plot, html)
    if plot or html:
        from liveupdated.ctl.plot import page, svg, update

        record = ask(lambda client: client.record(session))
        if plot:
            files.write(plot, svg.document(update.draw(*record)))
        if html:
            files.write(html, page.report(*record))
        return
    found = ask(lambda client: client.timeline(session))
    if as_json:
        return options.print_json(found)
    from liveupdated.ctl import render

    render.show(render.timeline(found))


def _one_answer(as_json: bool, *written: str | None) -> None:
    """Refuse what would be two documents on standard output, or one that nobody gets."""
    asked = [name for name in written if name]
    if as_json and asked:
        raise click.UsageError("--json is an answer of its own, without --plot or --html")
    if asked.count(files.STDOUT) > 1:
        raise click.UsageError("only one of --plot and --html can go to standard output")
