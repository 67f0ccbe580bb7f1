# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which of two versions is newer: UAPI.10, as systemd and the boot loaders do it.

Where the text of UAPI.10 and systemd differ, this follows systemd: `6.12~rc1` is older than `6.12`
(steps 2 and 3), `1^2` is older than `1a` (step 6), and no digits are older than `0` (step 7).
"""

import functools
import re

_IGNORED = re.compile(r"[^a-zA-Z0-9~^.-]*")
_DIGITS = re.compile(r"[0-9]*")
_LETTERS = re.compile(r"[a-zA-Z]*")


def compare(a: str, b: str) -> int:
    """-1, 0 or 1: `a` is older than, as old as, newer than `b`.

    Source: systemd's strverscmp_improved(); `systemd-analyze compare-versions` shows the same.
    """
    while True:
        a = a[_end(_IGNORED, a) :]
        b = b[_end(_IGNORED, b) :]
        if a[:1] == "~" or b[:1] == "~":
            if a[:1] != b[:1]:
                return -1 if a[:1] == "~" else 1
            a, b = a[1:], b[1:]
        if not a or not b:
            return _sign(bool(a), bool(b))
        for separator in "-^.":
            if a[:1] == separator or b[:1] == separator:
                if a[:1] != b[:1]:
                    return -1 if a[:1] == separator else 1
                a, b = a[1:], b[1:]
        numbers = a[:1].isdecimal() or b[:1].isdecimal()
        kind = _DIGITS if numbers else _LETTERS
        end_a, end_b = _end(kind, a), _end(kind, b)
        part_a, part_b = a[:end_a], b[:end_b]
        if numbers and bool(part_a) != bool(part_b):
            return 1 if part_a else -1
        order = _sign(int(part_a), int(part_b)) if numbers else _sign(part_a, part_b)
        if order:
            return order
        a, b = a[end_a:], b[end_b:]


key = functools.cmp_to_key(compare)
"""For sorted(): oldest first."""


def _end(pattern: re.Pattern[str], text: str) -> int:
    match = pattern.match(text)
    return match.end() if match else 0


def _sign(a: int | str, b: int | str) -> int:
    # Python compares letters as strncmp() does, and a longer word with the same start is newer.
    return (a > b) - (a < b)  # type: ignore[operator]
