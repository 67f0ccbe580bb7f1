# SPDX-License-Identifier: LGPL-2.1-or-later
"""Carry and Forget: rules that an administrator has us write, a file of its own each.

A rule first stands in /run, for the rehearsal that decides about it, and then in /etc.  Its file is
named after what the rule is about (`unit`, `container`) and the workload.
"""

import glob
import json
import re
from dataclasses import fields
from pathlib import Path

from liveupdated import paths, rules, workloads
from liveupdated.errors import InvalidArgument, NotFound
from liveupdated.session import Workload, write_durably

TRIAL, KEPT = paths.RULE_FOLDERS[2], paths.RULE_FOLDERS[1]
_UNSAFE = re.compile(r"[^A-Za-z0-9@._-]")


def find(found: list[Workload], name: str) -> Workload:
    """The workload of that id or name.  Raises NotFound, InvalidArgument when there are several."""
    named = [workload for workload in found if name in (workload.id, workload.name)]
    if not named:
        raise NotFound(f"no workload is called {name}", "", "`liveupdatectl workloads` lists all")
    _refuse_several(name, [workload.id for workload in named])
    return named[0]


def _refuse_several(name: str, ids: list[str]) -> None:
    if len(ids) > 1:
        raise InvalidArgument(
            f"several workloads are called {name}", ", ".join(sorted(ids)), "say which, by its id"
        )


def _subject(workload: Workload) -> str:
    """What a rule about it is about.  Raises InvalidArgument when its kind has no such rules."""
    rule = workloads.kind(workload.kind).RULE
    if rule is None or all(field.name != "carry" for field in fields(rule)):
        raise InvalidArgument(f"nothing can be declared for workloads of kind {workload.kind}")
    return rules.subject(rule)


def rule_text(workload: Workload) -> str:
    """The rule that declares it.  Raises InvalidArgument as `_subject`, and for what no file of
    rules can name."""
    named = workload.declaration or {_subject(workload): workload.name}
    about = "".join(f"{key} = {_quoted(glob.escape(name))}\n" for key, name in named.items())
    return (
        "# Written by `liveupdatectl carry`, after a rehearsal that went well; "
        "`liveupdatectl forget` takes it away.\n"
        f'[[workload]]\n{about}carry = "memory"\n'
    )


def _quoted(text: str) -> str:
    """A basic string of TOML (toml.io, v1.0.0): JSON's, but that DEL has to be escaped, and that
    there are no surrogates, which stand for bytes that are no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"{text!r} cannot be declared", "it is no UTF-8") from error
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def on_trial(workload: Workload) -> Path:
    """Declare it until the next boot; the file."""
    TRIAL.mkdir(mode=0o755, parents=True, exist_ok=True)
    return _write(TRIAL, workload)


def keep(workload: Workload) -> Path:
    """Declare it for good; the file."""
    return _write(KEPT, workload)


def forget(name: str) -> None:
    """Take a rule of ours away.  Raises NotFound when there is none, InvalidArgument when there are
    several that `name`, an id or a name, may mean."""
    kind, colon, rest = name.partition(":")
    by_id = bool(colon) and kind in workloads.names()
    known = {
        f"{each}:{rest if by_id else name}": _file(
            KEPT, rules.subject(rule), rest if by_id else name
        )
        for each in ([kind] if by_id else workloads.names())
        if (rule := workloads.kind(each).RULE)
    }
    there = {path: each for each, path in known.items() if path.exists()}
    if not there:
        raise NotFound(
            f"{name} was not declared by `liveupdatectl carry`",
            f"no file in {KEPT} is about it",
            f"`liveupdatectl workloads --why {name}` tells which file decides",
        )
    _refuse_several(name, list(there.values()))
    for path in there:
        path.unlink()


def _write(folder: Path, workload: Workload) -> Path:
    path = _file(folder, _subject(workload), workload.name)
    write_durably(path, rule_text(workload).encode(), mode=0o644)
    return path


def _file(folder: Path, subject: str, name: str) -> Path:
    """After all that begins with a number, as is the habit: what is said here decides."""
    return folder / f"carry-{subject}-{_UNSAFE.sub('_', name)}.toml"
