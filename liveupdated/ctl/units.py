# SPDX-License-Identifier: LGPL-2.1-or-later
"""Times, sizes and foreign text, for people; and a person's duration, for us."""

import datetime
import re

_UNITS_US = {
    "us": 1,
    "µs": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "sec": 1_000_000,
    "m": 60_000_000,
    "min": 60_000_000,
    "h": 3_600_000_000,
}
_TERM = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zµ]*)", re.IGNORECASE)
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def duration(us: int) -> str:
    """`us` microseconds in at most two units: ``350 ms``, ``1.25 s``, ``2 min 5 s``."""
    if us < 1_000:
        return f"{us} µs" if us else "0 s"
    if us < 9_995:
        return f"{us / 1_000:.2f} ms"
    if us < 999_500:
        return f"{round(us / 1_000)} ms"
    if us < 9_995_000:
        return f"{us / 1e6:.2f} s"
    if us < 59_950_000:
        return f"{us / 1e6:.1f} s"
    seconds = round(us / 1e6)
    for unit, name, below, below_name in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "min"),
        (_MINUTE, "min", 1, "s"),
    ):
        if seconds >= unit:
            rest = seconds % unit // below
            return f"{seconds // unit} {name}" + (f" {rest} {below_name}" if rest else "")
    raise AssertionError("unreachable: a minute or more")


def parse_duration(text: str) -> int:
    """Microseconds of ``90``, ``1.5s``, ``1min 30s`` (systemd.time(7), without days and longer).

    A bare number is seconds.  Raises ValueError.
    """
    total, place = 0.0, 0
    text = text.strip()
    while place < len(text):
        term = _TERM.match(text, place)
        if term is None or (unit := _UNITS_US.get(term[2].lower() or "s")) is None:
            raise ValueError(f"{text!r} is not a duration")
        total += float(term[1]) * unit
        place = term.end()
    if total <= 0:
        raise ValueError(f"{text!r} is not a duration above zero")
    return round(total)


def size(count: int) -> str:
    """`count` bytes: ``512 B``, ``1.5 MiB``."""
    if count < 1024:
        return f"{count} B"
    scaled = float(count)
    for name in ("KiB", "MiB", "GiB"):
        scaled /= 1024
        if scaled < 1023.5:
            return f"{scaled:.{0 if scaled >= 99.95 else 1}f} {name}"
    return f"{scaled / 1024:.1f} TiB"


def moment(us: int) -> str:
    """`us` since the epoch as local time."""
    local = datetime.datetime.fromtimestamp(us / 1e6).astimezone()
    return local.strftime("%Y-%m-%d %H:%M:%S %Z")


def distance(us: int, now_us: int) -> str:
    """How far `us` is from now: ``in 3 h``, ``2 min 5 s ago``."""
    seconds = max(abs(us - now_us) // 1_000_000, 1)
    length = f"{seconds} s" if seconds < _MINUTE else duration(seconds * 1_000_000)
    return f"in {length}" if us >= now_us else f"{length} ago"


def plain(text: str) -> str:
    """`text` on one line and without control characters.

    Names and reasons come from units and processes of any user: they must not drive the terminal.
    """
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
