# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which workload needs which: restored first to last, saved last to first, side by side else.

Kinds do not know each other: a workload says what it `provides` and what it `needs` in words that
all kinds share, as `unit:redis.service` or `device:0000:01:00.0`.  What nobody provides comes with
the boot.  Standard library only: restore reads this on the blackout's clock.
"""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from graphlib import CycleError, TopologicalSorter
from queue import Empty, SimpleQueue
from threading import Thread

from liveupdated.session import Workload


def needed(workloads: Iterable[Workload]) -> dict[str, set[str]]:
    """Each workload's id, with the ids of those that it needs."""
    workloads = list(workloads)
    providers: dict[str, set[str]] = {}
    for workload in workloads:
        for thing in workload.provides:
            providers.setdefault(thing, set()).add(workload.id)
    return {
        workload.id: {provider for thing in workload.needs for provider in providers.get(thing, ())}
        - {workload.id}
        for workload in workloads
    }


def circle(workloads: Iterable[Workload]) -> list[str]:
    """The ids of workloads that need each other in a circle; none where all is well."""
    try:
        TopologicalSorter(needed(workloads)).prepare()
    except CycleError as error:
        ids: list[str] = error.args[1]
        return ids
    return []


def first_to_last(workloads: Sequence[Workload]) -> list[Workload]:
    """What is needed before what needs it, else as they came.  Raises CycleError."""
    graph = needed(workloads)
    sorter = TopologicalSorter(graph)
    sorter.prepare()
    depth: dict[str, int] = {}
    while sorter.is_active():
        for workload_id in sorter.get_ready():
            depth[workload_id] = 1 + max((depth[other] for other in graph[workload_id]), default=0)
            sorter.done(workload_id)
    return sorted(workloads, key=lambda workload: depth[workload.id])


def longest_first(workloads: Sequence[Workload]) -> list[Workload]:
    """By the predicted cost of a workload with that of what it needs, which is saved after it: the
    order to begin in, so that all are done soonest.  Raises CycleError."""
    graph = needed(workloads)
    cost_us: dict[str, int] = {}
    for workload in first_to_last(workloads):
        after = max((cost_us[other] for other in graph[workload.id]), default=0)
        cost_us[workload.id] = workload.cost_us + after
    return sorted(workloads, key=lambda workload: cost_us[workload.id], reverse=True)


def least_patient(workloads: Sequence[Workload]) -> list[Workload]:
    """Those that have a limit for their blackout, and all that they need, saved after them."""
    graph = needed(workloads)
    last = [workload.id for workload in workloads if workload.max_blackout_us]
    for workload_id in last:
        last += graph[workload_id] - set(last)
    return [workload for workload in workloads if workload.id in last]


def first_back(workloads: Iterable[Workload], frozen: Iterable[str]) -> list[str]:
    """The ids in the order to come back in: as they were `frozen`, since the first has stood still
    longest, and before each what it needs, which was frozen after it."""
    graph = needed(workloads)
    back: dict[str, None] = {}

    def add(workload_id: str) -> None:
        for other in sorted(graph[workload_id] - back.keys()):
            add(other)
        back.setdefault(workload_id)

    for workload_id in frozen:
        add(workload_id)
    return list(back)


def each(
    workloads: Sequence[Workload],
    work: Callable[[Workload], None],
    threads: int,
    *,
    last_to_first: bool = False,
) -> None:
    """Do `work` on each workload as soon as all that it waits for are done; of several for which
    that is so, on those that come first in `workloads`.

    The first exception ends it: nothing more is begun, and what runs is waited for.
    """
    by_id = {workload.id: workload for workload in workloads}
    place = {workload.id: number for number, workload in enumerate(workloads)}
    graph = needed(workloads)
    if last_to_first:
        graph = {one: {other for other in graph if one in graph[other]} for one in graph}
    sorter = TopologicalSorter(graph)
    sorter.prepare()
    # Not concurrent.futures, which brings logging and all that it needs: a tenth of a
    # restore worker's start.
    todo: SimpleQueue[str | None] = SimpleQueue()
    done: SimpleQueue[tuple[str, BaseException | None]] = SimpleQueue()

    def serve() -> None:
        while (workload_id := todo.get()) is not None:
            try:
                work(by_id[workload_id])
                done.put((workload_id, None))
            except BaseException as error:
                done.put((workload_id, error))

    crew: list[Thread] = []
    try:
        for _ in range(min(threads, len(by_id))):
            thread = Thread(target=serve)
            thread.start()
            crew.append(thread)
        while sorter.is_active():
            for workload_id in sorted(sorter.get_ready(), key=place.__getitem__):
                todo.put(workload_id)
            workload_id, failure = done.get()
            if failure is not None:
                raise failure
            sorter.done(workload_id)
    finally:
        with contextlib.suppress(Empty):
            while True:  # what nobody has begun
                todo.get_nowait()
        for _ in crew:
            todo.put(None)
        for thread in crew:
            thread.join()
