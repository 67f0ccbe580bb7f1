# SPDX-License-Identifier: LGPL-2.1-or-later
"""`liveupdatectl carrier`: works here and not in the service, which may not touch devices."""
# ruff: noqa: PLC0415 - only this command needs what it imports

import os

import click

from liveupdated.ctl import options, shapes, units
from liveupdated.ctl.reload import reload
from liveupdated.errors import InvalidArgument, NotAuthorized

ACTIONS = ("status", "set-up", "remove")


@click.command()
@click.argument("action", type=click.Choice(ACTIONS), default="status")
@click.argument("what", metavar="[SIZE|DEVICE]", default="")
@options.as_json
def carrier(*, action: str, what: str, as_json: bool) -> None:
    """Where saved memory travels, and memory set aside for that; as root.

    set-up SIZE has the kernels of the jumps to come leave so much memory alone.  It is a pmem
    device from the next jump on: then set-up once more puts a file system on it.  set-up DEVICE
    takes a pmem device that is always there.  remove takes all of that back.

    \b
    Examples:
      liveupdatectl carrier
      liveupdatectl carrier set-up 4G
    """
    if os.geteuid() != 0:
        raise NotAuthorized("carriers are root's alone", "", "be root")
    if bool(what) is not (action == "set-up"):
        raise InvalidArgument("a size or a device goes with set-up", "", "such as `set-up 4G`")
    from liveupdated.carriers import setup

    if action != "status":
        setup.set_up(what) if what else setup.remove()
        reload()
    shape = _shape()
    if as_json:
        return options.print_json(shape)
    for key, value in _rows(shape):
        click.echo(f"{click.style(f'{key}:'.ljust(13), bold=True)}{units.plain(value)}")


def _shape() -> shapes.Carriers:
    from pathlib import Path

    from liveupdated.carriers import choice, pmem, setup

    taken = choice.choose(choice.find(), 0, None)
    return shapes.Carriers(
        carrier=taken.name,
        carrier_reason=taken.reason,
        free_bytes=taken.free_bytes,
        set_aside=list(pmem.protected(Path("/proc/cmdline").read_text())),
        cmdline_add=list(setup.words()),
        devices=[
            shapes.Device(device=device.path, bytes=device.bytes, holds=device.holds)
            for device in setup.devices()
        ],
    )


def _rows(shape: shapes.Carriers) -> list[tuple[str, str]]:
    rows = [
        ("Carrier", f"{shape['carrier']}: {shape['carrier_reason']}"),
        ("Free", units.size(shape["free_bytes"])),
        ("Set aside", " ".join(shape["set_aside"]) or "nothing, in this kernel"),
        ("Each jump", " ".join(shape["cmdline_add"]) or "no region is set up"),
    ]
    rows += [
        ("Device", f"{each['device']}, {units.size(each['bytes'])}, {each['holds'] or 'empty'}")
        for each in shape["devices"]
    ]
    missing = [word for word in shape["cmdline_add"] if word not in shape["set_aside"]]
    if missing:
        rows.append(("Next", "jump (`liveupdatectl update`), then set it up once more"))
    return rows
