# SPDX-License-Identifier: LGPL-2.1-or-later
"""`workloads.d/*.toml`: what an administrator, or a package, says about workloads.

Read from /usr/lib, /etc and /run (`paths.RULE_FOLDERS`).  As everywhere in systemd's world, a file
of the same name in a later folder replaces the earlier one, and files are read in the order of
their names; the last rule that names a workload decides.

A rule decides what runs as root and with whose memory: a file that others than root may write is
refused, as is one in a folder that they may write.

What a rule may say is each kind's own business: a kind offers a dataclass whose first field names
the workload, as a pattern (`unit`, `container`), and by that key a `[[workload]]` table finds it.
"""

import os
import stat
from collections.abc import Collection, Iterable, Sequence
from dataclasses import fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Protocol, TypeVar

from liveupdated import paths
from liveupdated.errors import InvalidArgument


class Rule(Protocol):
    """What every kind's dataclass of rules has, after its first field."""

    @property
    def source(self) -> str:
        """The file it stands in; filled in when read."""


R = TypeVar("R", bound=Rule)


def subject(rule: type[Any]) -> str:
    """The key by which a rule of this kind names its workload."""
    return fields(rule)[0].name


def load_rules(kinds: Iterable[type[Any]]) -> list[Rule]:
    """All rules, earliest first.  Raises InvalidArgument naming the file that cannot be read."""
    by_subject = {subject(kind): kind for kind in kinds}
    files: dict[str, Path] = {}
    for folder in paths.RULE_FOLDERS:
        for file in sorted(folder.glob("*.toml")):
            files[file.name] = file
    rules: list[Rule] = []
    for _, file in sorted(files.items()):
        try:
            rules += _parse(file, by_subject)
        except ValueError as error:  # pydantic's and tomllib's errors are some, too
            raise InvalidArgument(
                f"{file} cannot be used", str(error), "see liveupdated.toml(5)"
            ) from error
    return rules


def _read(file: Path) -> str:
    """The text of a file that is root's alone.  Raises ValueError when it is not."""
    with file.open() as opened:
        for what, status in ((file, os.fstat(opened.fileno())), (file.parent, file.parent.stat())):
            # Without privilege, as in a test, what is one's own is trusted as root's is.
            if status.st_uid not in (0, os.geteuid()):
                raise ValueError(f"{what} belongs to uid {status.st_uid}, and not to root")
            if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise ValueError(f"{what} can be written by others than root")
        return opened.read()


def _parse(file: Path, by_subject: dict[str, type[Any]]) -> list[Rule]:
    import tomllib  # noqa: PLC0415 - the daemon, which only writes rules, does without

    content = tomllib.loads(_read(file))
    unknown = content.keys() - {"workload"}
    if unknown or not isinstance(content.get("workload", []), list):
        raise ValueError(f"only [[workload]] is known here, not {', '.join(unknown) or 'this'}")
    return [_rule(table, by_subject, str(file)) for table in content.get("workload", [])]


def _rule(table: dict[str, Any], by_subject: dict[str, type[Any]], source: str) -> Rule:
    named = [key for key in by_subject if key in table]
    if len(named) != 1:
        known = ", ".join(sorted(by_subject))
        raise ValueError(f"a [[workload]] says what it is about by one of: {known}")
    kind = by_subject[named[0]]
    allowed = {field.name for field in fields(kind)} - {"source"}
    if unknown := table.keys() - allowed:
        raise ValueError(f"{named[0]} = {table[named[0]]!r} cannot say {', '.join(unknown)}")
    if not table[named[0]]:
        raise ValueError(f"{named[0]} is empty")
    from pydantic import TypeAdapter  # noqa: PLC0415 - as tomllib

    rule: Rule = TypeAdapter(kind).validate_python({**table, "source": source})
    return rule


def deciding(rules: Sequence[Rule], kind: type[R], name: str) -> R | None:
    """The rule of that kind that decides about `name`: the last one whose pattern fits."""
    key = subject(kind)
    return next(
        (
            rule
            for rule in reversed(rules)
            if isinstance(rule, kind) and fnmatchcase(name, getattr(rule, key))
        ),
        None,
    )


def deciding_any(rules: Sequence[Rule], names: Collection[str]) -> Rule | None:
    """The last rule, of whatever kind, that names one of `names`."""
    return next(
        (
            rule
            for rule in reversed(rules)
            if any(fnmatchcase(name, getattr(rule, subject(type(rule)))) for name in names)
        ),
        None,
    )
