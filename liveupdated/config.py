# SPDX-License-Identifier: LGPL-2.1-or-later
"""/etc/liveupdated/liveupdated.toml and conf.d/: the settings, with their defaults.

Files in conf.d are read in the order of their names; a later one wins, key by key.  Words of the
command line add up instead, as lists do in systemd's drop-ins (systemd.syntax(7)): a file of ours
or of a package must not take an administrator's words away.
"""

import tomllib
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from liveupdated import paths
from liveupdated.errors import InvalidArgument

_ADD_UP = ("cmdline_add", "cmdline_remove")


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Kernels(_Table):
    """`[kernels]`"""

    folders: list[str] = ["/boot", "/efi", "/usr/lib/modules"]
    """Images are only ever loaded from below these."""
    cmdline_add: list[str] = []
    cmdline_remove: list[str] = []
    """Names of parameters (`quiet`, `console`) or whole words (`console=ttyS0`)."""


class Update(_Table):
    """`[update]`"""

    accept_loss: list[str] = ["sessions:*/*"]
    """Patterns of workload ids whose loss is agreed to in every update.  By default: of logins,
    which end with any boot.  What runs in them is another matter (`sessions:NAME:UNIT`)."""
    max_blackout_s: float = Field(default=0, ge=0)
    """0 is no limit."""
    inhibit_delay_s: float = Field(default=30, ge=0)
    """How long holders of a delay inhibitor may keep an update waiting."""


class Health(_Table):
    """`[health]`"""

    commands: list[list[str]] = []
    """Each must exit with 0 within `timeout_s` for the update to be confirmed."""
    timeout_s: float = Field(default=120, gt=0)


class Config(_Table):
    """All of it."""

    kernels: Kernels = Kernels()
    update: Update = Update()
    health: Health = Health()


def load_config() -> Config:
    """The settings in force.  Raises InvalidArgument naming the file and the key."""
    merged: dict[str, Any] = {}
    for file in [paths.CONFIG, *sorted(paths.CONFIG_DROPINS.glob("*.toml"))]:
        try:
            tables = tomllib.loads(file.read_text())
            Config.model_validate(tables)
        except FileNotFoundError:
            continue
        except (tomllib.TOMLDecodeError, ValidationError, UnicodeDecodeError) as error:
            raise InvalidArgument(
                f"{file} is not valid", str(error), "see liveupdated.toml(5)"
            ) from error
        for name, table in tables.items():
            before = merged.setdefault(name, {})
            added = {key: _sum(before.get(key, []), table[key]) for key in _ADD_UP if key in table}
            before.update(table | added)
    return Config.model_validate(merged)


def _sum(before: list[str], more: list[str]) -> list[str]:
    """Both; an empty text empties what is before it."""
    last = max((place for place, word in enumerate(more) if not word), default=None)
    return [*before, *more] if last is None else more[last + 1 :]
