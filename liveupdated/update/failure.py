# SPDX-License-Identifier: LGPL-2.1-or-later
"""How a worker's error reaches the daemon: a file a step; an exit code carries no sentence."""

import json
from pathlib import Path

from liveupdated import paths
from liveupdated.errors import LiveUpdateError, by_dbus_name
from liveupdated.session import write_durably


def record(step: str, error: LiveUpdateError) -> None:
    file = _file(step)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fields = {"what": error.what, "why": error.why, "hint": error.hint}
    write_durably(file, json.dumps({"name": error.dbus_name, **fields}).encode())


def forget(step: str) -> None:
    _file(step).unlink(missing_ok=True)


def read(step: str) -> LiveUpdateError | None:
    """What the last run of `step` failed with, if it said so."""
    try:
        fields = json.loads(_file(step).read_bytes())
        return by_dbus_name(fields["name"])(fields["what"], fields["why"], fields["hint"])
    except (OSError, ValueError, KeyError):
        return None


def _file(step: str) -> Path:
    return paths.ERRORS / f"{step}.json"
