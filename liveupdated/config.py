# SPDX-License-Identifier: LGPL-2.1-or-later
"""/etc/liveupdated/liveupdated.toml and conf.d/: the settings, with their defaults.

Files in conf.d are read in the order of their names; a later one wins, key by key.  Words of the
command line add up instead, as lists do in systemd's drop-ins (systemd.syntax(7)): a file of ours
or of a package must not take an administrator's words away.

pydantic validates what people write.  It takes more memory than anything else in the daemon, which
is idle all day: the daemon has a process of its own do it (`load_apart`), and nobody needs it where
nothing is written.
"""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from liveupdated import paths
from liveupdated.errors import InvalidArgument, ServiceError

_WORDS = {"unexpected_keyword_argument": "there is no such setting"}
"""What pydantic says in the terms of Python."""

_ADD_UP = ("cmdline_add", "cmdline_remove")


class _Table:
    # What is no field is a mistake.
    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - pydantic asks for a plain dict


@dataclass(frozen=True)
class Kernels(_Table):
    """`[kernels]`"""

    folders: Sequence[str] = ("/boot", "/efi", "/usr/lib/modules")
    """Images are only ever loaded from below these."""
    cmdline_add: Sequence[str] = ()
    cmdline_remove: Sequence[str] = ()
    """Names of parameters (`quiet`, `console`) or whole words (`console=ttyS0`)."""
    tune: bool = True
    """Whether words that only make the boot of the jump quicker are added to it."""
    lean_initrd: bool = False
    """Whether jumps have an initrd of their own, with this host's drivers only."""


@dataclass(frozen=True)
class Update(_Table):
    """`[update]`"""

    accept_loss: Sequence[str] = ("sessions:*/*",)
    """Patterns of workload ids whose loss is agreed to in every update.  By default: of logins,
    which end with any boot.  What runs in them is another matter (`sessions:NAME:UNIT`)."""
    max_blackout_s: float = 0
    """0 is no limit."""
    blackout_limits: Mapping[str, float] = field(default_factory=dict)
    """The same, in seconds, for workloads whose id or name has the pattern."""
    inhibit_delay_s: float = 30
    """How long holders of a delay inhibitor may keep an update waiting."""
    stop: Literal["quick", "orderly"] = "quick"
    """How the old userspace ends (`liveupdated.update.quickstop`)."""

    def __post_init__(self) -> None:
        _require(self.max_blackout_s >= 0, "max_blackout_s cannot be below 0")
        _require(
            all(limit > 0 for limit in self.blackout_limits.values()),
            "blackout_limits must be above 0",
        )
        _require(self.inhibit_delay_s >= 0, "inhibit_delay_s cannot be below 0")


@dataclass(frozen=True)
class Health(_Table):
    """`[health]`"""

    commands: Sequence[Sequence[str]] = ()
    """Each must exit with 0 within `timeout_s` for the update to be confirmed."""
    timeout_s: float = 120

    def __post_init__(self) -> None:
        _require(self.timeout_s > 0, "timeout_s must be above 0")


def _require(true: bool, otherwise: str) -> None:
    if not true:
        raise ValueError(otherwise)


@dataclass(frozen=True)
class Config(_Table):
    """All of it."""

    kernels: Kernels = Kernels()
    update: Update = Update()
    health: Health = Health()


def load_config() -> Config:
    """The settings in force.  Raises InvalidArgument naming the file and the key."""
    written = list(_written())
    if not written:
        return Config()
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 - see above

    settings = TypeAdapter(Config)
    merged: dict[str, Any] = {}
    for file, tables in written:
        try:
            settings.validate_python(tables)
        except ValidationError as error:
            wrong = [
                f"{'.'.join(map(str, e['loc']))}: {_WORDS.get(e['type'], e['msg'])}"
                for e in error.errors()
            ]
            raise _invalid(file, "; ".join(wrong)) from error
        for name, table in tables.items():
            before = merged.setdefault(name, {})
            added = {key: _sum(before.get(key, []), table[key]) for key in _ADD_UP if key in table}
            before.update(table | added)
    return settings.validate_python(merged)


def _sum(before: list[str], more: list[str]) -> list[str]:
    """Both; an empty text empties what is before it."""
    last = max((place for place, word in enumerate(more) if not word), default=None)
    return [*before, *more] if last is None else more[last + 1 :]


def load_apart() -> Config:
    """The same, validated by a process of its own.  Raises ServiceError when that does not work."""
    if not any(_written()):
        return Config()
    isolated = ["-I"] if sys.flags.isolated else []
    command = [sys.executable, *isolated, "-m", __name__]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    try:
        answer = json.loads(done.stdout)
    except ValueError as error:
        raise ServiceError("the settings could not be validated", done.stderr.strip()) from error
    if "refused" in answer:
        raise InvalidArgument(*answer["refused"])
    default = Config()
    return Config(
        **{name: dataclasses.replace(getattr(default, name), **answer[name]) for name in answer}
    )


def _written() -> Iterator[tuple[Path, dict[str, Any]]]:
    """What the files say, one after the other; those that say nothing are left out."""
    for file in [paths.CONFIG, *sorted(paths.CONFIG_DROPINS.glob("*.toml"))]:
        if not file.exists():
            continue
        import tomllib  # noqa: PLC0415 - most hosts have no file

        try:
            tables = tomllib.loads(file.read_text())
        except (OSError, ValueError) as error:  # the latter of TOML, or of UTF-8
            raise _invalid(file, str(error)) from error
        if tables:
            yield file, tables


def _invalid(file: Path, why: str) -> InvalidArgument:
    return InvalidArgument(f"{file} is not valid", why, "see liveupdated.toml(5)")


def main() -> int:
    """The process of its own: prints the settings, or why they are refused."""
    try:
        answer = dataclasses.asdict(load_config())
    except InvalidArgument as error:
        answer = {"refused": [error.what, error.why, error.hint]}
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
