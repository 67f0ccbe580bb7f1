# SPDX-License-Identifier: LGPL-2.1-or-later
"""The plan step: what an update would do, decided before anything changes.

`find_workloads` is the worker's half (it needs to look into other processes), `make_plan` the
daemon's: a pure function of what was found and what was asked.
"""

import dataclasses
import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol

from liveupdated import carriers, paths, workloads
from liveupdated.carriers import Carrier, region
from liveupdated.carriers.choice import SPACE_RESERVE, choose, find
from liveupdated.criu import KERNEL
from liveupdated.errors import LiveUpdateError, NotFound
from liveupdated.kernels import cmdline
from liveupdated.session import (
    Verdict,
    Workload,
    workload_from_json,
    write_durably,
)
from liveupdated.update import order
from liveupdated.update.predict import Cost
from liveupdated.update.request import Request

MEMORY_RESERVE = 128 << 20
"""Bytes of memory that the new kernel and its userspace take at least, beside what comes back."""


class PlanTarget(Protocol):
    """The part of a catalogue entry that the plan names."""

    @property
    def id(self) -> str: ...
    @property
    def release(self) -> str: ...
    @property
    def cmdline(self) -> str: ...


@dataclass(frozen=True)
class Plan:
    """Target kernel, rung, verdicts, prediction and blockers."""

    kernel: str
    release: str
    rung: str
    rung_reason: str
    blackout_us: int
    jump_us: int
    """Of the blackout, what passes between the save and the restore."""
    max_blackout_us: int
    """0 is no limit."""
    stop: str
    """How the old userspace ends (`liveupdated.update.quickstop`)."""
    bytes: int
    carrier: Carrier
    blockers: tuple[str, ...]
    workloads: tuple[Workload, ...]
    candidates: tuple[tuple[str, str], ...] = ()
    """Names of services that would be worth carrying, each with the reason."""


@dataclass(frozen=True)
class Found:
    """What the worker saw."""

    workloads: tuple[Workload, ...]
    carriers: tuple[Carrier, ...]
    """The quickest first."""
    memory_bytes: int
    """What a kernel has here that sets nothing aside."""


def find_workloads() -> None:
    """Ask every kind and write paths.FOUND for the daemon."""
    # The worker's, not the daemon's.
    import psutil  # noqa: PLC0415

    from liveupdated.host import Host  # noqa: PLC0415
    from liveupdated.rules import load_rules  # noqa: PLC0415

    kinds = {name: workloads.kind(name) for name in workloads.names()}
    host = Host(load_rules(kind.RULE for kind in kinds.values() if kind.RULE))
    found: list[Workload] = []
    for name, kind in kinds.items():
        try:
            found += kind.find(host)
        except (LiveUpdateError, OSError, subprocess.SubprocessError) as error:
            found.append(_unknown(name, error))
    data = {
        "workloads": [dataclasses.asdict(workload) for workload in found],
        "carriers": [carriers.to_json(carrier) for carrier in find()],
        "memory_bytes": psutil.virtual_memory().total + region.set_aside(cmdline.running()),
    }
    paths.FOUND.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_durably(paths.FOUND, json.dumps(data).encode())


def _unknown(kind: str, error: Exception) -> Workload:
    """A row for all of a kind: nothing of it is saved, and that has to be agreed to."""
    reason = f"what runs of this kind cannot be told: {error}"
    name = "unknown"
    return Workload(f"{kind}:{name}", kind, name, Verdict.BLOCKS, reason, starts_afresh=False)


def read_found() -> Found:
    """What the worker wrote."""
    data = json.loads(paths.FOUND.read_bytes())
    return Found(
        tuple(map(workload_from_json, data["workloads"])),
        tuple(map(carriers.from_json, data["carriers"])),
        data["memory_bytes"],
    )


def make_plan(
    found: Found,
    target: PlanTarget | None,
    running: str,
    request: Request,
    *,
    accept_loss: Sequence[str] = (),
    limits: Mapping[str, float] | None = None,
    jump_us: int = 0,
    no_criu: str = "",
    measured: Mapping[str, Cost] | None = None,
    processors: int = 1,
) -> Plan:
    """The plan for going from `running` (a kernel release) to `target`.

    `accept_loss` are the administrator's standing patterns, beside those of the request, and
    `limits` the longest blackouts in seconds, by pattern; `no_criu`
    is why CRIU cannot restore memory on the target, where it cannot; `jump_us` and `measured` (by
    workload id) are what is predicted from what was measured.  `processors` work at what is only
    estimated.
    """
    patterns = [*accept_loss, *request.accept_loss]
    circle = order.circle(found.workloads)
    ordered = found.workloads if circle else order.first_to_last(found.workloads)
    judged = [
        _accept(_with_cost(workload, (measured or {}).get(workload.id)), patterns)
        for workload in ordered
    ]
    if no_criu:
        judged = [_if_possible(w, KERNEL in w.needs, f"the new kernel {no_criu}") for w in judged]
    words = f"{target.cmdline} {request.append}" if target else None
    memory = found.memory_bytes - region.set_aside(words or "") - MEMORY_RESERVE
    judged = _that_fit(judged, memory, "the new kernel has no memory")
    carrier = choose(found.carriers, _needed(judged), words)
    judged = _that_fit(judged, carrier.free_bytes - SPACE_RESERVE, f"{carrier.folder} has no room")
    judged = [_limited(workload, limits or {}) for workload in judged]
    needed = _needed(judged)
    blackout_us = jump_us + _carrying_us(judged, measured or {}, processors)
    rung, rung_reason = choose_rung(request.rung, target, running)
    blockers = [
        f"{w.id}: {w.reason}"
        for w in judged
        if w.verdict in (Verdict.BLOCKS, Verdict.LOST) and not _named(w, patterns)
    ]
    if circle:
        blockers.append(f"these need each other in a circle: {', '.join(circle)}")
    if target is None:
        blockers.append("there is no kernel to go to")
    elif not request.kernel and target.release == running:
        blockers.append(
            f"{running} runs already, and there is none that is newer "
            f"(to jump into it again, ask for kernel {target.id})"
        )
    if no_criu and any(KERNEL in w.needs for w in judged if w.verdict is Verdict.CARRIED):
        blockers.append(f"{target.release if target else 'the kernel'} {no_criu}")
    if rung != "live-update":
        blockers.append(f"{rung_reason}; live-update is the rung this version can take")
    if needed + SPACE_RESERVE > carrier.free_bytes:
        blockers.append(
            f"the state folder {carrier.folder} has {carrier.free_bytes >> 20} MiB free, "
            f"the save needs {(needed + SPACE_RESERVE) >> 20} MiB"
        )
    if needed > memory:
        blockers.append(
            f"what is carried needs {needed >> 20} MiB of memory, and the new kernel has "
            f"{max(memory, 0) >> 20} MiB for it"
        )
    if request.max_blackout_us and blackout_us > request.max_blackout_us:
        blockers.append(
            f"the predicted blackout of {blackout_us / 1e6:.1f} s is over the limit of "
            f"{request.max_blackout_us / 1e6:.1f} s"
        )
    blockers += [
        f"{w.id}: its predicted blackout of {(jump_us + w.cost_us) / 1e6:.1f} s is over its limit "
        f"of {w.max_blackout_us / 1e6:.1f} s"
        for w in judged
        if w.max_blackout_us and jump_us + w.cost_us > w.max_blackout_us
    ]
    return Plan(
        kernel=target.id if target else "",
        release=target.release if target else "",
        rung=rung,
        rung_reason=rung_reason,
        blackout_us=blackout_us,
        jump_us=jump_us,
        max_blackout_us=request.max_blackout_us,
        stop=request.stop,
        bytes=needed,
        carrier=carrier,
        blockers=tuple(blockers),
        workloads=tuple(judged),
        candidates=tuple(
            (w.name, w.candidate)
            for w in sorted(judged, key=lambda workload: workload.name)
            if w.candidate and w.verdict is Verdict.RESTARTED
        ),
    )


def _carrying_us(
    workloads: Iterable[Workload], measured: Mapping[str, Cost], processors: int
) -> int:
    """What is measured was so side by side with the others; what is only estimated, by itself, and
    the processors are shared."""
    carried = [w for w in workloads if w.verdict is Verdict.CARRIED]
    estimated_us = sum(w.cost_us for w in carried if w.id not in measured)
    return max([estimated_us // processors, *(workload.cost_us for workload in carried)])


def _needed(workloads: Iterable[Workload]) -> int:
    return sum(w.bytes for w in workloads if w.verdict is Verdict.CARRIED)


def _if_possible(workload: Workload, obstacle: bool, why: str) -> Workload:
    """Restarted, where it was to be carried only if possible and there is an obstacle."""
    if not (obstacle and workload.optional and workload.verdict is Verdict.CARRIED):
        return workload
    return dataclasses.replace(
        workload, verdict=Verdict.RESTARTED, reason=f"not carried: {why}; {workload.reason}"
    )


def _that_fit(workloads: list[Workload], room: int, short: str) -> list[Workload]:
    """The largest of what is to be carried only if possible stay behind until there is room."""
    while _needed(workloads) > room:
        optional = [w for w in workloads if w.optional and w.verdict is Verdict.CARRIED]
        if not optional:
            break
        largest = max(optional, key=lambda workload: workload.bytes)
        why = f"{short} for its {largest.bytes >> 20} MiB"
        workloads = [_if_possible(w, w is largest, why) for w in workloads]
    return workloads


def _with_cost(workload: Workload, cost: Cost | None) -> Workload:
    if cost is None or workload.verdict is not Verdict.CARRIED:
        return workload
    return dataclasses.replace(workload, cost_us=cost.time_us, bytes=cost.bytes)


def _limited(workload: Workload, limits: Mapping[str, float]) -> Workload:
    """With the lowest of the limits that name it, which its reason tells too."""
    named = [limit for pattern, limit in limits.items() if _named(workload, [pattern])]
    if workload.verdict is not Verdict.CARRIED or not named:
        return workload
    limit_s = min(named)
    return dataclasses.replace(
        workload,
        max_blackout_us=int(limit_s * 1e6),
        reason=f"{workload.reason}; it may stand still for {limit_s:g} s",
    )


def only(plan: Plan, patterns: Sequence[str]) -> Plan:
    """The plan for the workloads that the patterns name; for all when there are none.

    Raises NotFound when they name no workload.
    """
    if not patterns:
        return plan
    chosen = tuple(workload for workload in plan.workloads if _named(workload, patterns))
    if not chosen:
        raise NotFound(f"no workload is called {', '.join(patterns)}")
    return dataclasses.replace(plan, workloads=chosen)


def choose_rung(asked: str, target: PlanTarget | None, running: str) -> tuple[str, str]:
    """The rung to take and why."""
    if asked:
        return asked, f"{asked} was asked for"
    if target is not None and target.release == running:
        return "live-update", f"{running} runs already; a jump starts it anew, with memory kept"
    return "live-update", "another kernel needs a jump, and memory is to be kept"


def _named(workload: Workload, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(workload.id, p) or fnmatchcase(workload.name, p) for p in patterns)


def _accept(workload: Workload, patterns: Sequence[str]) -> Workload:
    """A blocking workload whose loss was agreed to restarts like any other, if it can."""
    if workload.verdict is not Verdict.BLOCKS or not _named(workload, patterns):
        return workload
    return dataclasses.replace(
        workload,
        verdict=Verdict.RESTARTED if workload.starts_afresh else Verdict.LOST,
        reason=f"its memory is lost, as was agreed to: {workload.reason}",
    )
