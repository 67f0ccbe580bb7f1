# SPDX-License-Identifier: LGPL-2.1-or-later
"""`liveupdatectl advise`: works here and not in the service.

What it reads is of the running boot and open to its caller or not; that is shown.  What it writes
is one file of root's.
"""
# ruff: noqa: PLC0415 - only this command needs what it imports

from typing import TYPE_CHECKING

import click

from liveupdated.ctl import options
from liveupdated.ctl.reload import reload
from liveupdated.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from liveupdated.advice import Advice, Report
    from liveupdated.advice.dropin import Words
    from liveupdated.ctl.shapes import Advised


@click.command()
@click.option("--apply", is_flag=True, help="Set what is a matter of command line or initrd.")
@click.option(
    "--only",
    multiple=True,
    metavar="ID",
    help="With --apply: only this advice; some is applied in no other way.",
)
@click.option("--undo", is_flag=True, help="Take back what --apply has set.")
@click.option("--dry-run", is_flag=True, help="With these: only show what would be set.")
@options.as_json
def advise(*, apply: bool, only: tuple[str, ...], undo: bool, dry_run: bool, as_json: bool) -> None:
    """What would shorten the next boot, the largest gain first.

    Reads this boot's kernel log and systemd's time stamps.  A gain is computed from what was
    measured, or at most the whole that was measured, or said to be unknown.  --apply adds words to
    and removes them from the command line of the jumps to come, or gives them a lean initrd, and
    changes nothing else.

    \b
    Examples:
      liveupdatectl advise
      liveupdatectl advise --apply --dry-run
    """
    if apply and undo:
        raise click.UsageError("--apply and --undo exclude each other")
    if only and not apply:
        raise click.UsageError("--only goes with --apply")
    if dry_run and not (apply or undo):
        raise click.UsageError("--dry-run goes with --apply or --undo")
    from liveupdated.advice import dropin, evidence
    from liveupdated.advice.report import report

    if undo:
        before = dropin.read() if dry_run else dropin.undo()
        found, words = None, dropin.Words()
    else:
        found = report(evidence.gather())
        before = dropin.read()
        words = before.with_(_chosen(found.advice, only)) if apply else before
        if words != before and not dry_run:
            dropin.apply(words)
    changed = words != before
    if changed and not dry_run:
        reload()
    shape = _shape(found, words, changed)
    if as_json:
        return options.print_json(shape)
    if apply or undo:
        left = [each for each in shape["advice"] if each["careful"] and not each["applied"]]
        return _tell(before, words, dry_run, [each["id"] for each in left if not only])
    from liveupdated.ctl import render

    render.show(render.advised(shape))


def _chosen(found: "list[Advice]", only: tuple[str, ...]) -> "list[Advice]":
    """What is to be applied.  Raises NotFound, InvalidArgument where an id is none of these."""
    by_id = {each.id: each for each in found}
    for name in only:
        if name not in by_id:
            raise NotFound(
                f"there is no advice {name}", "", "`liveupdatectl advise --json` has the ids"
            )
        if not by_id[name].applicable:
            raise InvalidArgument(
                f"{name} cannot be applied", "it is no matter of command line or initrd"
            )
    return [by_id[name] for name in only] or [each for each in found if not each.careful]


def _tell(before: "Words", after: "Words", dry_run: bool, left: list[str]) -> None:
    """What became of the drop-in."""
    from liveupdated import paths

    for name in left:
        click.echo(f"{name}: left out, for you to decide; --apply --only {name} does it")
    if before == after:
        click.echo("there is nothing to change")
        return
    would = "would be " if dry_run else ""
    if after.lean_initrd != before.lean_initrd:
        click.echo(f"a lean initrd: {would}{'made' if after.lean_initrd else 'no longer made'}")
    for words, there, verb in (
        (after.add, before.add, "added"),
        (after.remove, before.remove, "removed"),
    ):
        for word in [word for word in words if word not in there]:
            click.echo(f"{word}: {would}{verb} at each jump")
        for word in [word for word in there if word not in words]:
            click.echo(f"{word}: {would}no longer {verb}")
    click.echo(f"{paths.ADVISED}: {would}{'written' if after else 'taken away'}")


def _shape(found: "Report | None", words: "Words", changed: bool) -> "Advised":
    import os

    from liveupdated import paths
    from liveupdated.ctl import shapes

    return shapes.Advised(
        release=found.release if found else os.uname().release,
        facts=[
            shapes.Fact(name=fact.name, text=fact.text, duration_us=fact.duration_us)
            for fact in (found.facts if found else [])
        ],
        advice=[
            shapes.Advice(
                id=each.id,
                title=each.title,
                seen=each.seen,
                gain_us=each.gain_us,
                basis=str(each.basis),
                do=each.do,
                command=each.command,
                add=each.add,
                remove=each.remove,
                lean_initrd=each.lean_initrd,
                careful=each.careful,
                applied=each.applicable and words.has(each),
            )
            for each in (found.advice if found else [])
        ],
        unread=found.unread if found else [],
        file=str(paths.ADVISED),
        cmdline_add=list(words.add),
        cmdline_remove=list(words.remove),
        lean_initrd=words.lean_initrd,
        changed=changed,
    )
