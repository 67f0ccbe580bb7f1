# SPDX-License-Identifier: LGPL-2.1-or-later
"""liveupdatectl: the command line, a client of the D-Bus API.

Only `advise` and `carrier` are not: the one reads what any user may read, the other touches
devices, which the service may not.
"""

import io
import sys

import click

from liveupdated import __version__
from liveupdated.ctl import act, advise, carrier, show
from liveupdated.ctl.exits import Exit
from liveupdated.ctl.options import Commands

_EXITS = ", ".join(f"{code} {code.name.lower().replace('_', ' ')}" for code in Exit)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"Exit status: {_EXITS}.",
)
@click.version_option(__version__)
def cli() -> None:
    """Change the kernel under a running machine and keep what runs on it.

    \b
    Example:
      liveupdatectl plan && liveupdatectl update
    """


for command in (
    show.status,
    show.kernels,
    show.workloads,
    show.plan,
    act.stage,
    act.unstage,
    act.update,
    act.rehearse,
    act.rollback,
    act.confirm,
    act.block,
    act.unblock,
    act.carry,
    act.forget,
    act.schedule,
    act.unschedule,
    act.cancel,
    show.history,
    show.timeline,
    advise.advise,
    carrier.carrier,
):
    cli.add_command(command)


def main() -> None:
    """The entry point."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Arrows and bars are not in every locale: a question mark is better than no answer.
            stream.reconfigure(errors="replace")
    cli(prog_name="liveupdatectl")


if __name__ == "__main__":
    main()
