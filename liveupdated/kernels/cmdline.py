# SPDX-License-Identifier: LGPL-2.1-or-later
"""Kernel command lines: taking them apart by the kernel's rules and putting them together.

Source of the rules: next_arg() in the kernel's lib/cmdline.c.  White space separates words, double
quotes keep it in a word, there is no escape; a word stays as it was written, quotes included.
"""

import contextlib
import json
import re
from collections.abc import Iterable

from liveupdated import paths
from liveupdated.errors import InvalidArgument

TOKEN = "liveupdated.token"  # noqa: S105
LAST_PID = "sysctl.kernel.ns_last_pid"
PID_MAX = "sysctl.kernel.pid_max"

LOADER_WORDS = ("BOOT_IMAGE", "initrd")
"""What boot loaders add for one boot (GRUB, systemd-boot)."""
OUR_WORDS = (TOKEN, LAST_PID)
"""What we add for one jump."""

CPU_FEATURES = ("clearcpuid", "nofsgsbase", "nopku", "noxsave", "noxsaveopt", "noxsaves")
"""What hides features of the CPU that programs use (kernel-parameters.txt): one that has found them
at its start cannot be restored without."""

_WORD = re.compile(r'(?:"[^"]*"?|[^\s"])+', re.ASCII)


def split(text: str) -> list[str]:
    """The words, each as it was written."""
    return _WORD.findall(text)


def parse(word: str) -> tuple[str, str | None]:
    """Parameter and value as the kernel sees them; None where there is no `=`."""
    quoted = word.startswith('"')
    if quoted:
        word = word[1:]
    at = word.find("=", 1)  # from 1: a "=" at the very start does not count for next_arg()
    if at < 0:
        return (word[:-1] if quoted and word.endswith('"') else word), None
    name, value = word[:at], word[at + 1 :]
    if value.startswith('"'):
        value = value[1:]
        quoted = True
    if quoted and value.endswith('"'):
        value = value[:-1]
    return name, value


def remove(words: Iterable[str], unwanted: Iterable[str]) -> list[str]:
    """`words` without those named in `unwanted`: `name` for any value, `name=value` for that one.

    What follows a bare `--` belongs to init and stays.  As for the kernel, `-` and `_` in a
    parameter are the same.
    """
    exact: set[tuple[str, str | None]] = set()
    names: set[str] = set()
    for word in unwanted:
        name, value = _normal(word)
        if value is None:
            names.add(name)
        else:
            exact.add((name, value))
    ours, init = _before_init(list(words))
    return [w for w in ours if _normal(w)[0] not in names and _normal(w) not in exact] + init


def add(words: Iterable[str], more: Iterable[str]) -> list[str]:
    """`words` and `more`, which goes before a bare `--`; a word that is there is not repeated."""
    ours, init = _before_init(list(words))
    for word in more:
        if word not in ours:
            ours.append(word)
    return ours + init


def hidden_cpu_features(words: Iterable[str], now: Iterable[str]) -> list[str]:
    """The words that hide features of the CPU which a kernel with the words `now` shows."""
    hidden = {_normal(word) for word in now}
    return [
        word
        for word in _before_init(list(words))[0]
        if _normal(word)[0] in CPU_FEATURES and _normal(word) not in hidden
    ]


def check(text: str) -> list[str]:
    """The words of a text that somebody asks to add.  Raises InvalidArgument."""
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise InvalidArgument(
            f"{text!r} cannot be on a kernel command line", "it has control characters"
        )
    if text.count('"') % 2:
        raise InvalidArgument(
            f"{text!r} cannot be on a kernel command line",
            "a double quote is not closed, and would take in all that follows",
        )
    words = split(text)
    if _before_init(words)[1]:
        raise InvalidArgument(
            f"{text!r} cannot be added to a kernel command line",
            "what comes after -- is for init, not for the kernel",
        )
    return words


def running() -> str:
    """The running kernel's."""
    return (paths.ROOT / "proc/cmdline").read_text(errors="replace")


def base(own: str | None) -> list[str]:
    """The words a kernel is booted with: its entry's own, or those of /etc/kernel/cmdline, or the
    running kernel's without what belongs to its loader and to our last jump."""
    if own is not None:
        return remove(split(own), OUR_WORDS)
    try:
        lines = (paths.ROOT / "etc/kernel/cmdline").read_text(errors="replace").splitlines()
    except OSError:
        return loaders()
    return split(" ".join(line for line in lines if not line.lstrip().startswith("#")))


def loaders() -> list[str]:
    """The running kernel's words as its boot loader gave them.

    After a jump they are those that were kept for it: what settings and `--append` added to one
    jump, or took away, is not handed on to all that follow.
    """
    now = running()
    token = value(now, TOKEN)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        return split(json.loads(paths.LOADER_CMDLINE.read_bytes())[token])
    return remove(split(now), (*LOADER_WORDS, *OUR_WORDS))


def keep_loaders(token: str) -> bytes:
    """What is to be in paths.LOADER_CMDLINE for a jump with `token`, and for this boot still."""
    words = " ".join(loaders())
    now = value(running(), TOKEN)
    return json.dumps({each: words for each in (now, token) if each}).encode()


def compose(own: str | None, adds: Iterable[str], removes: Iterable[str]) -> str:
    """The command line with the configuration's additions and removals.

    Raises InvalidArgument when an addition cannot be on a command line.
    """
    more = [word for text in adds for word in check(text)]
    return " ".join(add(remove(base(own), removes), more))


def value(text: str, name: str) -> str | None:
    """The value of the last `name=` on the command line, None when there is none."""
    found = None
    for word in _before_init(split(text))[0]:
        parameter, its_value = parse(word)
        if parameter == name and its_value is not None:
            found = its_value
    return found


def names(words: Iterable[str]) -> set[str]:
    """The parameters, `_` for `-`, without what is for init."""
    return {_normal(word)[0] for word in _before_init(list(words))[0]}


def _normal(word: str) -> tuple[str, str | None]:
    name, value = parse(word)
    return name.replace("-", "_"), value


def _before_init(words: list[str]) -> tuple[list[str], list[str]]:
    at = next((i for i, word in enumerate(words) if parse(word) == ("--", None)), len(words))
    return words[:at], words[at:]
