# SPDX-License-Identifier: LGPL-2.1-or-later
"""The commands that change something."""
# ruff: noqa: PLC0415 - rich and the bus are imported where they are used

import sys
from typing import TYPE_CHECKING

import click

from liveupdated.ctl import options
from liveupdated.ctl.show import print_plan
from liveupdated.ctl.units import moment
from liveupdated.errors import Blocked, NotFound

if TYPE_CHECKING:
    from liveupdated.contract import Variant
    from liveupdated.ctl.client import Client
    from liveupdated.ctl.shapes import Ending, Plan


@click.command()
@click.argument("kernel", default="")
@options.append
@options.as_json
def stage(kernel: str, append: str | None, as_json: bool) -> None:
    """Verify a kernel and load it.  Nothing jumps.

    KERNEL is an id of `liveupdatectl kernels`; without one it is the newest.

    \b
    Example:
      liveupdatectl stage
    """
    ending = _job("Stage", "sa{sv}", kernel, options.on_the_wire({"append": append}))
    _tell(ending, as_json, "the kernel is loaded; liveupdatectl unstage takes it out again")


@click.command()
@options.as_json
def unstage(as_json: bool) -> None:
    """Take a loaded kernel out again: nothing stays armed.

    \b
    Example:
      liveupdatectl unstage
    """
    _call("Unstage", "a{sv}", {})
    _tell(_done(), as_json, "no kernel is loaded")


@click.command()
@options.planning
@options.append
@click.option(
    "--when",
    type=click.Choice(["now", "window"]),
    help="window: asked by the timer, whose time is the maintenance window.",
)
@click.option("--dry-run", is_flag=True, help="Only show the plan, like `liveupdatectl plan`.")
@click.option(
    "--unattended",
    is_flag=True,
    help="As the timer does: nothing to do is no error, nobody is asked, --when=window.",
)
@options.yes
@options.as_json
def update(
    *,
    kernel: str | None,
    rung: str | None,
    accept_loss: tuple[str, ...],
    max_blackout: int | None,
    stop: str | None,
    append: str | None,
    when: str | None,
    dry_run: bool,
    unattended: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Move onto another kernel, and carry what runs across.

    On a terminal the plan is shown and you are asked first.  Ctrl-C cancels, and what was done is
    undone, until the host jumps; then this command ends with 0, and after the jump `liveupdatectl
    history last` tells what became of each workload.

    \b
    Examples:
      liveupdatectl update --max-blackout 30s
      liveupdatectl update --kernel 6.12.57+deb13-amd64 --accept-loss 'units:run-*' --yes
    """
    from liveupdated.ctl.client import ask

    given = {"kernel": kernel, "rung": rung, "max-blackout": max_blackout, "stop": stop}
    wire = options.on_the_wire({**given, "accept-loss": accept_loss})
    if dry_run:
        found = ask(lambda client: client.plan(wire))
        return print_plan(found, everything=False, as_json=as_json)
    asks = _attended() and not (yes or unattended or as_json)

    async def work(client: "Client") -> "Ending":
        if unattended and not kernel and not (await client.status())["rung"]:
            return _done()
        if asks:
            _agree(await client.plan(wire))
        more = options.on_the_wire({"append": append, "when": "window" if unattended else when})
        return await _follow(client, "Update", "a{sv}", wire | more)

    _tell(ask(work), as_json, "there was nothing to do")


@click.command()
@options.accept_loss
@options.max_blackout
@options.stop
@options.yes
@options.as_json
def rollback(
    *,
    accept_loss: tuple[str, ...],
    max_blackout: int | None,
    stop: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Back to the kernel before this one.

    The workloads are carried back.

    \b
    Example:
      liveupdatectl rollback
    """
    if _attended() and not (yes or as_json):
        click.confirm("Move back onto the kernel before this one?", abort=True)
    given = {"max-blackout": max_blackout, "stop": stop}
    wire = options.on_the_wire({**given, "accept-loss": accept_loss})
    _tell(_job("Rollback", "a{sv}", wire), as_json, "rolled back")


@click.command()
@click.argument("workloads", nargs=-1)
@options.accept_loss
@options.as_json
def rehearse(workloads: tuple[str, ...], accept_loss: tuple[str, ...], as_json: bool) -> None:
    """Save and restore in place, without a jump.

    WORKLOADS are names, ids or patterns; without one it is all of them.  Tells the true cost and
    the true obstacles.

    \b
    Example:
      liveupdatectl rehearse && liveupdatectl timeline
    """
    wire = options.on_the_wire({"accept-loss": accept_loss, "only": workloads})
    ending = _job("Rehearse", "a{sv}", wire)
    _tell(ending, as_json, "rehearsed; see liveupdatectl history last, and timeline")


@click.command()
@options.as_json
def confirm(as_json: bool) -> None:
    """Accept the running kernel by hand.

    For when the health checks did not.

    \b
    Example:
      liveupdatectl confirm
    """
    _call("Confirm", "a{sv}", {})
    _tell(_done(), as_json, "the running kernel is accepted")


@click.command()
@click.argument("kernel")
@options.as_json
def block(kernel: str, as_json: bool) -> None:
    """Never try that kernel (again).

    KERNEL is an id of `liveupdatectl kernels`.

    \b
    Example:
      liveupdatectl block 7.3.4+deb13-amd64
    """
    _call("Block", "sa{sv}", kernel, {})
    _tell(_done(), as_json, "the kernel is blocked")


@click.command()
@click.argument("kernel")
@options.as_json
def unblock(kernel: str, as_json: bool) -> None:
    """Allow a blocked kernel again.

    \b
    Example:
      liveupdatectl unblock 7.3.4+deb13-amd64
    """
    _call("Unblock", "sa{sv}", kernel, {})
    _tell(_done(), as_json, "the kernel may be tried again")


@click.command()
@click.argument("workload")
@options.as_json
def carry(workload: str, as_json: bool) -> None:
    """Carry a workload's memory in every update from now on.

    WORKLOAD is a name or id of `liveupdatectl workloads`.  It is rehearsed first, for real: frozen,
    ended, and brought back.  Only when that goes well is it declared, in
    /etc/liveupdated/workloads.d.

    \b
    Example:
      liveupdatectl carry memcached.service
    """
    ending = _job("Carry", "sa{sv}", workload, {})
    _tell(ending, as_json, f"{workload} is carried; liveupdatectl forget {workload} undoes it")


@click.command()
@click.argument("workload")
@options.as_json
def forget(workload: str, as_json: bool) -> None:
    """Undo `carry`.

    \b
    Example:
      liveupdatectl forget memcached.service
    """
    _call("Forget", "sa{sv}", workload, {})
    _tell(_done(), as_json, f"{workload} is no longer declared")


@click.command()
@click.argument("calendar")
@options.as_json
def schedule(calendar: str, as_json: bool) -> None:
    """Ask for an update at a time or repeatedly.

    CALENDAR is an expression of systemd.time(7).  It replaces the schedule before.

    \b
    Example:
      liveupdatectl schedule 'Sun 03:30'
    """
    [at] = _call("Schedule", "sa{sv}", calendar, {})
    ending = _done()
    ending["next_update_us"] = at
    _tell(ending, as_json, f"the next update is asked for at {moment(at)}")


@click.command()
@options.as_json
def unschedule(as_json: bool) -> None:
    """End the schedule.

    \b
    Example:
      liveupdatectl unschedule
    """
    _call("Unschedule", "a{sv}", {})
    _tell(_done(), as_json, "no update is scheduled")


@click.command()
@click.argument("job", type=int, required=False)
@options.as_json
def cancel(job: int | None, as_json: bool) -> None:
    """Ask a job to stop and to undo what it did.

    Without JOB, its number, it is the one under way.

    \b
    Example:
      liveupdatectl cancel
    """
    from liveupdated import contract
    from liveupdated.ctl.client import ask

    async def work(client: "Client") -> "Ending":
        [jobs] = await client.call("ListJobs")
        fits = [
            (path, found)
            for path, found in jobs
            if not found["Result"] and job in (None, found["Id"])
        ]
        if not fits:
            raise NotFound(f"job {job} is not under way" if job else "no job is under way")
        [path, found] = fits[0]
        await client.call_on(path, contract.JOB, "Cancel")
        ending = _done()
        ending["result"], ending["job"] = "cancelling", found["Id"]
        return ending

    _tell(ask(work), as_json, "")


def _agree(found: "Plan") -> None:
    """Show the plan and ask.  Raises Blocked where there is nothing to ask."""
    from liveupdated.ctl import render

    render.show(render.plan(found))
    if found["blockers"]:
        raise Blocked("the update would be refused", "; ".join(found["blockers"]))
    click.confirm("Update now?", abort=True)


def _attended() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _call(member: str, signature: str, *args: "str | dict[str, Variant]") -> list[int]:
    from liveupdated.ctl.client import ask

    return ask(lambda client: client.call(member, signature, *args))


def _job(member: str, signature: str, *args: "str | dict[str, Variant]") -> "Ending":
    from liveupdated.ctl.client import ask

    return ask(lambda client: _follow(client, member, signature, *args))


async def _follow(
    client: "Client", member: str, signature: str, *args: "str | dict[str, Variant]"
) -> "Ending":
    from liveupdated.ctl.progress import display
    from liveupdated.ctl.watch import run_job

    return await run_job(client, display(), member, signature, *args)


def _done() -> "Ending":
    return {"result": "done", "job": 0, "session": "", "kernel": "", "next_update_us": 0}


def _tell(ending: "Ending", as_json: bool, done: str) -> None:
    """The last word: `done` unless it ended otherwise."""
    if as_json:
        options.print_json(ending)
    elif ending["result"] == "jumping":
        click.echo(f"jumping into {ending['kernel'] or 'another kernel'} now")
    elif ending["result"] == "cancelling":
        click.echo(f"job {ending['job']} is being cancelled: what it did is undone")
    else:
        click.echo(done)
