# SPDX-License-Identifier: LGPL-2.1-or-later
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveupdated.ctl import units


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "0 s"),
        (1, "1 µs"),
        (999, "999 µs"),
        (1_000, "1.00 ms"),
        (350_400, "350 ms"),
        (999_499, "999 ms"),
        (999_500, "1.00 s"),
        (1_250_000, "1.25 s"),
        (9_994_000, "9.99 s"),
        (9_996_000, "10.0 s"),
        (14_500_000, "14.5 s"),
        (59_949_999, "59.9 s"),
        (59_950_000, "1 min"),
        (125_000_000, "2 min 5 s"),
        (3_600_000_000, "1 h"),
        (12_000_000_000, "3 h 20 min"),
        (180_000_000_000, "2 d 2 h"),
    ],
)
def test_durations_read_well(us: int, text: str) -> None:
    assert units.duration(us) == text


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("90", 90_000_000),
        ("1.5s", 1_500_000),
        ("500ms", 500_000),
        ("20 us", 20),
        ("1min 30s", 90_000_000),
        ("2m", 120_000_000),
        ("1h30min", 5_400_000_000),
    ],
)
def test_durations_are_understood(text: str, us: int) -> None:
    assert units.parse_duration(text) == us


@pytest.mark.parametrize("text", ["", "0", "-5s", "5 parsecs", "s", "1.2.3", "5s!", "1d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        units.parse_duration(text)


@given(st.integers(1, 10**16))
def test_a_shown_duration_is_close_to_itself(us: int) -> None:
    shown = units.duration(us)
    factors = {"µs": 1, "ms": 10**3, "s": 10**6, "min": 60 * 10**6, "h": 3600 * 10**6}
    factors["d"] = 24 * factors["h"]
    words = shown.split()
    total = sum(float(n) * factors[unit] for n, unit in zip(words[::2], words[1::2], strict=True))
    assert total == pytest.approx(us, rel=0.05)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (100 * 1024, "100 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (34 * 1024**2, "34.0 MiB"),
        (5 * 1024**3, "5.0 GiB"),
        (3 * 1024**4, "3.0 TiB"),
    ],
)
def test_sizes_read_well(count: int, text: str) -> None:
    assert units.size(count) == text


def test_foreign_text_cannot_drive_the_terminal() -> None:
    assert units.plain("a\x1b]0;x\x07\nb\u202e") == "a\\x1b]0;x\\x07\\x0ab\\x202e"
    assert units.plain("redis → ünit") == "redis → ünit"


def test_distances_look_both_ways() -> None:
    now = 10**15
    assert units.distance(now + 7_200_000_000, now) == "in 2 h"
    assert units.distance(now - 125_400_000, now) == "2 min 5 s ago"
    assert units.distance(now - 3, now) == "1 s ago"
