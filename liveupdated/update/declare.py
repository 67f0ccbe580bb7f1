# SPDX-License-Identifier: LGPL-2.1-or-later
"""Carry and Forget: rules that an administrator has us write, a file of its own each.

A rule first stands in /run, for the rehearsal that decides about it, and then in /etc.
"""

import glob
import json
import re
from pathlib import Path

from liveupdated import paths, rules, workloads
from liveupdated.errors import InvalidArgument, NotFound
from liveupdated.session import Workload, write_durably

TRIAL, KEPT = paths.RULE_FOLDERS[2], paths.RULE_FOLDERS[1]
_UNSAFE = re.compile(r"[^A-Za-z0-9@._-]")


def find(found: list[Workload], name: str) -> Workload:
    """The workload of that id or name.  Raises NotFound."""
    for workload in found:
        if name in (workload.id, workload.name):
            return workload
    raise NotFound(f"no workload is called {name}", "", "`liveupdatectl workloads` lists all")


def rule_text(workload: Workload) -> str:
    """The rule that declares it.  Raises InvalidArgument when its kind has no rules."""
    rule = workloads.kind(workload.kind).RULE
    if rule is None:
        raise InvalidArgument(f"nothing can be declared for workloads of kind {workload.kind}")
    named = workload.declaration or {rules.subject(rule): workload.name}
    # JSON's strings are TOML's basic strings (toml.io, v1.0.0).
    about = "".join(f"{key} = {json.dumps(glob.escape(name))}\n" for key, name in named.items())
    return (
        "# Written by `liveupdatectl carry`, after a rehearsal that went well; "
        "`liveupdatectl forget` takes it away.\n"
        f'[[workload]]\n{about}carry = "memory"\n'
    )


def on_trial(workload: Workload) -> Path:
    """Declare it until the next boot; the file."""
    TRIAL.mkdir(mode=0o755, parents=True, exist_ok=True)
    return _write(TRIAL, workload)


def keep(workload: Workload) -> Path:
    """Declare it for good; the file."""
    return _write(KEPT, workload)


def forget(name: str) -> None:
    """Take a rule of ours away.  Raises NotFound when there is none."""
    path = _file(KEPT, name)
    try:
        path.unlink()
    except FileNotFoundError as error:
        raise NotFound(
            f"{name} was not declared by `liveupdatectl carry`",
            f"there is no {path}",
            f"`liveupdatectl workloads --why {name}` tells which file decides",
        ) from error


def _write(folder: Path, workload: Workload) -> Path:
    path = _file(folder, workload.name)
    write_durably(path, rule_text(workload).encode(), mode=0o644)
    return path


def _file(folder: Path, name: str) -> Path:
    """After all that begins with a number, as is the habit: what is said here decides."""
    return folder / f"carry-{_UNSAFE.sub('_', name)}.toml"
