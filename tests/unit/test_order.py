# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which workload needs which."""

import os
import signal
import threading
from types import FrameType

import pytest

from liveupdated.errors import Cancelled
from liveupdated.session import Verdict, Workload
from liveupdated.update import order


def workload(name: str, *needs: str) -> Workload:
    """It provides its own name."""
    return Workload(name, "t", name, Verdict.CARRIED, "", provides=[name], needs=list(needs))


def test_first_to_last_keeps_the_rest_as_it_was() -> None:
    found = [workload("vm", "bridge"), workload("a"), workload("bridge", "module"), workload("b")]
    found += [workload("module"), workload("c", "nobody has this")]
    names = [one.name for one in order.first_to_last(found)]
    assert names == ["a", "b", "module", "c", "bridge", "vm"]


def test_who_was_frozen_first_is_back_first_and_before_it_what_it_needs() -> None:
    found = [workload("a"), workload("b", "c", "unsaved"), workload("c", "d"), workload("d")]
    assert order.first_back(found, ["b", "a", "c", "d"]) == ["d", "c", "b", "a"]
    assert order.first_back(found, []) == []


def test_a_circle_is_named() -> None:
    assert order.circle([workload("a", "b"), workload("b", "a")]) == ["a", "b", "a"]
    assert order.circle([workload("a", "a")]) == []


@pytest.mark.parametrize("last_to_first", [False, True])
def test_each_waits_for_what_it_depends_on(last_to_first: bool) -> None:
    seen: list[str] = []
    found = [workload("c", "b"), workload("b", "a"), workload("a")]
    order.each(found, lambda one: seen.append(one.name), 8, last_to_first=last_to_first)
    assert seen == (["c", "b", "a"] if last_to_first else ["a", "b", "c"])


def _wait(barrier: threading.Barrier) -> None:
    barrier.wait()


def test_independent_ones_go_side_by_side() -> None:
    both = threading.Barrier(2, timeout=30)
    order.each([workload("a"), workload("b")], lambda one: _wait(both), 2)


def test_nothing_begins_after_a_failure() -> None:
    seen: list[str] = []

    def work(one: Workload) -> None:
        seen.append(one.name)
        raise ValueError(one.name)

    with pytest.raises(ValueError, match="a"):
        order.each([workload("b", "a"), workload("a"), workload("c", "a")], work, 2)
    assert seen == ["a"]


def test_a_signal_ends_it_when_what_runs_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """As systemd stops a worker."""
    seen: list[str] = []
    waited_for = threading.Event()

    class Crew(threading.Thread):
        def join(self, timeout: float | None = None) -> None:
            waited_for.set()
            super().join(timeout)

    def cancel(number: int, frame: FrameType | None) -> None:
        raise Cancelled("it was cancelled")

    def work(one: Workload) -> None:
        seen.append(f"{one.name} begins")
        os.kill(os.getpid(), signal.SIGUSR1)
        assert waited_for.wait(60)
        seen.append(f"{one.name} ends")

    monkeypatch.setattr(order, "Thread", Crew)
    before = signal.signal(signal.SIGUSR1, cancel)
    try:
        with pytest.raises(Cancelled):
            order.each([workload("a"), workload("b")], work, 1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == ["a begins", "a ends"]
