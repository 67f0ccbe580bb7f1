# SPDX-License-Identifier: LGPL-2.1-or-later
"""`workloads.d/*.toml`: what an administrator, or a package, says about workloads.

Read from /usr/lib, /etc and /run (`paths.RULE_FOLDERS`).  As everywhere in systemd's world, a file
of the same name in a later folder replaces the earlier one, and files are read in the order of
their names; the last rule that names a workload decides.
"""

import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from liveupdated import paths
from liveupdated.errors import InvalidArgument


class Rule(BaseModel):
    """One `[[workload]]` table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    unit: str = Field(min_length=1)
    """Name of a systemd unit, or a pattern with `*` and `?`."""
    carry: Literal["memory", "no"]
    source: str = ""
    """The file it stands in; filled in when read."""


class RuleFile(BaseModel):
    """A whole file."""

    model_config = ConfigDict(extra="forbid")

    workload: list[Rule] = []


def load_rules() -> list[Rule]:
    """All rules, earliest first.  Raises InvalidArgument naming the file that cannot be read."""
    files: dict[str, Path] = {}
    for folder in paths.RULE_FOLDERS:
        for file in sorted(folder.glob("*.toml")):
            files[file.name] = file
    rules: list[Rule] = []
    for _, file in sorted(files.items()):
        try:
            parsed = RuleFile.model_validate(tomllib.loads(file.read_text()))
        except (tomllib.TOMLDecodeError, ValidationError, UnicodeDecodeError) as error:
            raise InvalidArgument(
                f"{file} is no list of workloads", str(error), "see liveupdated.toml(5)"
            ) from error
        rules.extend(rule.model_copy(update={"source": str(file)}) for rule in parsed.workload)
    return rules


def rule_for_unit(rules: list[Rule], unit: str) -> Rule | None:
    """The rule that decides about `unit`: the last one that names it."""
    return next((rule for rule in reversed(rules) if fnmatchcase(unit, rule.unit)), None)
