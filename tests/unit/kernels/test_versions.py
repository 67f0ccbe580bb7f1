# SPDX-License-Identifier: LGPL-2.1-or-later
"""systemd-analyze compare-versions is the oracle."""

import itertools
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liveupdated.kernels import versions

ORDERED = [
    "",
    "4.19.0-27-amd64",
    "6.1.0-9-amd64",
    "6.1.0-28-amd64",
    "6.12~rc1",
    "6.12",
    "6.12-rc2",
    "6.12.9-300.fc41.x86_64",
    "6.12.10-arch1-1",
    "6.12.117+deb13-amd64",
    "6.12.117+deb13-cloud-amd64",
    "7.3.4+deb13-cloud-amd64",
    "10.0",
]


def oracle(a: str, b: str) -> int:
    done = subprocess.run(
        ["systemd-analyze", "compare-versions", "--", a, b],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return {0: 0, 11: 1, 12: -1}[done.returncode]


def test_real_kernels_sort_as_people_expect() -> None:
    assert sorted(reversed(ORDERED), key=versions.key) == ORDERED


@pytest.mark.parametrize("pair", list(itertools.pairwise(ORDERED)))
def test_oracle_agrees_about_real_kernels(pair: tuple[str, str]) -> None:
    assert oracle(*pair) == -1


# What kernel versions are made of: how other characters sort has changed between systemds.
texts = st.text(alphabet="019aBz.-~^+_", max_size=8)


@settings(max_examples=300)
@given(texts, texts)
def test_any_two_texts_compare_as_in_systemd(a: str, b: str) -> None:
    assert versions.compare(a, b) == oracle(a, b)


@given(texts, st.integers(0, 8), st.sampled_from(["", "0", ".", "-", "~", "^", "a", "_"]))
@settings(max_examples=100)
def test_texts_that_differ_in_one_place_compare_as_in_systemd(a: str, at: int, extra: str) -> None:
    b = a[:at] + extra + a[at:]
    assert versions.compare(a, b) == oracle(a, b)


@given(st.text(), st.text())
def test_comparison_is_antisymmetric_for_any_text(a: str, b: str) -> None:
    assert versions.compare(a, b) == -versions.compare(b, a)
    assert versions.compare(a, a) == 0
