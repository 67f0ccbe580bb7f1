# SPDX-License-Identifier: LGPL-2.1-or-later
import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from liveupdated.kernels.pids import choose_last_pid, next_boot, used_pids
from tests.unit.kernels.fabricate import put


def test_ahead_of_today_where_there_is_room() -> None:
    assert choose_last_pid(5000, 4194304, {1, 400, 5000}) == 105000


def test_not_into_pids_of_before_the_numbers_wrapped() -> None:
    chosen = choose_last_pid(5000, 4194304, {105001, 1_000_000})
    assert chosen == (1_000_000 + 4194304) // 2


def test_largest_gap_where_the_end_is_near() -> None:
    assert choose_last_pid(4_100_000, 4194304, {2_500_300, 4_100_000}) == 1_250_300


def test_small_pid_max() -> None:
    assert choose_last_pid(1000, 32768, {400, 1000, 1100}) == 1100 + (32768 - 1100) // 2
    assert choose_last_pid(1000, 32768, range(300, 32768, 4000)) is None


@given(st.integers(300, 4194303), st.sets(st.integers(1, 4194303), max_size=300))
def test_what_follows_is_free(last: int, used: set[int]) -> None:
    chosen = choose_last_pid(last, 4194304, used)
    assert chosen is not None
    assert chosen + 2048 <= 4194304
    assert not used & set(range(chosen + 1, chosen + 2048))


def test_threads_groups_and_sessions_count(root: Path) -> None:
    put(root / "proc/700/task/701/x", "")
    put(root / "proc/700/stat", "700 (a (b) c) S 1 650 640 0 -1")
    assert used_pids() == {701, 650, 640}


def test_this_process_is_seen(root: Path) -> None:
    (root / "proc").rename(root / "old")
    (root / "proc").symlink_to("/proc")
    assert {os.getpid(), os.getpgid(0), os.getsid(0)} - {0} <= used_pids()


def test_kernel_without_ns_last_pid(root: Path) -> None:
    assert next_boot() == (4194304, 105000)
    (root / "proc/sys/kernel/ns_last_pid").unlink()
    assert next_boot() is None
