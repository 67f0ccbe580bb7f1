# SPDX-License-Identifier: LGPL-2.1-or-later
"""The status as text, without rich: it is asked for often, and importing rich takes longer."""

import os
import time

import click

from liveupdated.ctl import units
from liveupdated.ctl.shapes import Session, Status

SHORT_ID = 8


def show(shape: Status) -> None:
    """Print it on stdout; click leaves out what is bold where there is no terminal."""
    color = False if os.environ.get("NO_COLOR") else None
    for line in status(shape, time.time_ns() // 1000):
        click.echo(line, color=color)


def status(shape: Status, now_us: int) -> list[str]:
    """What goes on, in at most ten lines."""
    rows = [
        ("State", shape["state"]),
        ("Running", shape["running_kernel"]),
        ("Staged", shape["staged_kernel"] or "none"),
        ("Reboot", _reboot(shape)),
        ("Next update", _next(shape["next_update_us"], now_us)),
        ("Last session", _last(shape["last_session"], now_us)),
    ]
    held = shape["inhibitors"]
    rows += [("Inhibitor", f"{i['who']} ({i['mode']}): {i['why']}") for i in held[:3]]
    if len(held) > 3:
        rows[-1] = ("Inhibitors", f"{held[2]['who']} and {len(held) - 3} more")
    width = max(len(key) for key, _ in rows) + 3
    return [
        click.style(f"{key}:".ljust(width), bold=True) + units.plain(value) for key, value in rows
    ]


def _reboot(shape: Status) -> str:
    if not shape["reboot_required"]:
        return "not required"
    return "required" + (f", {shape['rung']} will do" if shape["rung"] else "")


def _next(at_us: int, now_us: int) -> str:
    if not at_us:
        return "not scheduled"
    return f"{units.moment(at_us)} ({units.distance(at_us, now_us)})"


def _last(session: Session | None, now_us: int) -> str:
    if session is None:
        return "none"
    ago = units.distance(session["created_us"], now_us)
    return f"{session['state']}, {way(session)}, {ago} ({session['id'][:SHORT_ID]})"


def way(session: Session) -> str:
    """From which kernel to which."""
    goal = session["arrival_kernel"] or session["target_kernel"] or "?"
    return f"{session['origin_kernel']} → {goal}"
