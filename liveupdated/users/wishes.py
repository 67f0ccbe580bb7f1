# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a user wants to be opened again: `liveupdated/reopen.toml` in his configuration folder, or
else in the system's (XDG Base Directory Specification, ~/.config and /etc/xdg).

Read by processes of the user only.  Standard library only.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

FILE = "liveupdated/reopen.toml"
KEYS = {"reopen", "exclude"}


@dataclass(frozen=True)
class Wishes:
    """The settings, with their defaults."""

    reopen: bool = True
    exclude: tuple[str, ...] = ()
    """Patterns of desktop ids."""
    problem: str = ""
    """Why the file is not heeded, in words."""

    def wants(self, app: str) -> bool:
        return self.reopen and not any(fnmatchcase(app, pattern) for pattern in self.exclude)


def places(environment: Mapping[str, str]) -> list[Path]:
    """Where the file may be; the first that is there counts."""
    home = environment.get("XDG_CONFIG_HOME") or f"{environment.get('HOME', '')}/.config"
    others = environment.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    return [Path(folder, FILE) for folder in [home, *others.split(":")] if folder[:1] == "/"]


def read(environment: Mapping[str, str]) -> Wishes:
    """Those of the user whose environment it is.  What cannot be read is no wish, and is told."""
    for file in places(environment):
        try:
            return _parse(tomllib.loads(file.read_text()))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            return Wishes(problem=f"{file}: {error}")
    return Wishes()


def write(environment: Mapping[str, str], wished: Wishes) -> None:
    """Make them the user's own.  Raises OSError."""
    file = places(environment)[0]
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A JSON string is a TOML string, and so with lists of them and booleans.
    lines = {"reopen": wished.reopen, "exclude": list(wished.exclude)}
    file.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items()))


def _parse(said: Mapping[str, object]) -> Wishes:
    """Raises ValueError."""
    reopen, exclude = said.get("reopen", True), said.get("exclude", [])
    if unknown := sorted(set(said) - KEYS):
        raise ValueError(f"there is no such setting: {', '.join(unknown)}")
    if not isinstance(reopen, bool):
        raise ValueError("reopen is true or false")
    if not isinstance(exclude, list):
        raise ValueError("exclude is a list of patterns")
    return Wishes(reopen, tuple(map(str, exclude)))
