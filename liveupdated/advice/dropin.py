# SPDX-License-Identifier: LGPL-2.1-or-later
"""The drop-in with which advice is applied: words for the command line of the next jumps, and
whether they have an initrd of their own.

It is a file of its own, so that taking it back is taking it away.  An administrator's own words are
in other files and stay (`config` adds them up).
"""

import json
import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from liveupdated import paths
from liveupdated.advice import Advice
from liveupdated.errors import InvalidArgument, LiveUpdateError, NotAuthorized, NotFound
from liveupdated.session import write_durably

_HEAD = (
    "# Written by `liveupdatectl advise --apply`; `liveupdatectl advise --undo` takes it away.\n"
)


@dataclass(frozen=True)
class Words:
    """What the drop-in says."""

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    lean_initrd: bool = False

    def __bool__(self) -> bool:
        return bool(self.add or self.remove or self.lean_initrd)

    def text(self) -> str:
        """The file."""
        # JSON's lists of strings are TOML's, but for escaped surrogates (toml.io, v1.0.0).
        lines = [
            f"{key} = {json.dumps(list(words), ensure_ascii=False)}\n"
            for key, words in (("cmdline_add", self.add), ("cmdline_remove", self.remove))
            if words
        ]
        lines += ["lean_initrd = true\n"] * self.lean_initrd
        return _HEAD + "[kernels]\n" + "".join(lines)

    def has(self, advice: Advice) -> bool:
        """Whether `advice` is applied."""
        return (
            set(advice.add) <= set(self.add)
            and set(advice.remove) <= set(self.remove)
            and advice.lean_initrd <= self.lean_initrd
        )

    def with_(self, advice: Collection[Advice]) -> "Words":
        """Together with all of `advice` that can be applied, each word once."""
        add, remove = list(self.add), list(self.remove)
        for each in advice:
            add += [word for word in each.add if word not in add]
            remove += [word for word in each.remove if word not in remove]
        lean_initrd = self.lean_initrd or any(each.lean_initrd for each in advice)
        return Words(tuple(add), tuple(remove), lean_initrd)


def read() -> Words:
    """What is applied now.  Raises InvalidArgument when somebody else changed the file."""
    path = paths.ADVISED
    try:
        text = path.read_text()
        table = tomllib.loads(text)["kernels"]
        words = Words(
            tuple(table.get("cmdline_add", ())),
            tuple(table.get("cmdline_remove", ())),
            table.get("lean_initrd", False),
        )
    except FileNotFoundError:
        return Words()
    except PermissionError as error:
        raise NotAuthorized(f"{path} cannot be read", error.strerror or "") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _foreign(path) from error
    if words.text() != text:
        raise _foreign(path)
    return words


def apply(words: Words) -> Path:
    """Make the drop-in say `words`; the file.  Raises NotAuthorized when we may not."""
    path = paths.ADVISED
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_durably(path, words.text().encode(), mode=0o644)
    except OSError as error:
        raise _not_written(path, error) from error
    return path


def undo() -> Words:
    """Take the drop-in away; what it said.  Raises NotFound when there is none."""
    path = paths.ADVISED
    if not path.exists():
        raise NotFound(
            "no advice is applied",
            f"there is no {path}",
            "`liveupdatectl advise --apply` would write it",
        )
    words = read()
    try:
        path.unlink()
    except OSError as error:
        raise _not_written(path, error) from error
    return words


def _not_written(path: Path, error: OSError) -> LiveUpdateError:
    why = error.strerror or str(error)
    if isinstance(error, PermissionError):
        return NotAuthorized(f"{path} cannot be changed", why, "be root; reading advice needs less")
    return LiveUpdateError(f"{path} cannot be changed", why)


def _foreign(path: Path) -> InvalidArgument:
    return InvalidArgument(
        f"{path} is not as `liveupdatectl advise --apply` wrote it",
        "somebody changed it",
        "move those changes into a file of your own, and remove it",
    )
