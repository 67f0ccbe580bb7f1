# SPDX-License-Identifier: LGPL-2.1-or-later
"""Commands as both kinds of machine take and return them."""

from collections.abc import Sequence
from dataclasses import dataclass

from .errors import CommandFailed

Command = Sequence[str] | str
"""A list of arguments, or a script for bash."""


@dataclass(frozen=True)
class Completed:
    """A command that ended in a machine."""

    stdout: str
    stderr: str
    code: int


def arguments(command: Command) -> list[str]:
    """What is executed for `command`."""
    return ["/bin/bash", "-c", command] if isinstance(command, str) else list(command)


def completed(command: Command, code: int, stdout: bytes, stderr: bytes, check: bool) -> Completed:
    """The result; raises CommandFailed when `check` is on and `code` is not 0."""
    done = Completed(stdout.decode(errors="replace"), stderr.decode(errors="replace"), code)
    if check and code != 0:
        raise CommandFailed(f"{command!r} ended with {code}\n{done.stderr}{done.stdout}")
    return done


EVIDENCE = """
echo "== failed units"; systemctl --failed --no-legend --plain
echo "== jobs"; systemctl list-jobs --no-legend
echo "== state"; find /var/lib/liveupdated /run/liveupdated -name '*.json' -size -64k \
    -exec tail -v -n +1 {} + 2>/dev/null
echo "== journal of this boot"; journalctl --no-pager -q -o short-monotonic -b 0 -n 200
echo "== journal of the boot before"; journalctl --no-pager -q -o short-monotonic -b -1 -n 100
true
"""
"""A script that prints what somebody wants to see after a failure."""
