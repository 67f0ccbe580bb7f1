# SPDX-License-Identifier: LGPL-2.1-or-later
"""Workloads and plans as dictionaries on the bus."""

from liveupdated.api.backend import PlanInfo
from liveupdated.contract import Variant
from liveupdated.session import Workload

Row = dict[str, Variant]


def workload_row(workload: Workload) -> Row:
    """A workload with its verdict."""
    return {
        "id": Variant("s", workload.id),
        "kind": Variant("s", workload.kind),
        "name": Variant("s", workload.name),
        "verdict": Variant("s", workload.verdict),
        "reason": Variant("s", workload.reason),
        "source": Variant("s", workload.source),
        "bytes": Variant("t", workload.bytes),
        "cost": Variant("t", workload.cost_us),
    }


def outcome_row(workload: Workload, frozen_us: int) -> Row:
    """A workload with its verdict and what became of it."""
    return workload_row(workload) | {
        "outcome": Variant("s", workload.outcome or ""),
        "outcome-reason": Variant("s", workload.outcome_reason),
        "frozen": Variant("t", frozen_us),
    }


def plan_summary(plan: PlanInfo) -> Row:
    """A plan without its workloads."""
    return {
        "kernel": Variant("s", plan.kernel),
        "release": Variant("s", plan.release),
        "rung": Variant("s", plan.rung),
        "rung-reason": Variant("s", plan.rung_reason),
        "blackout": Variant("t", plan.blackout_us),
        "bytes": Variant("t", plan.bytes),
        "free-bytes": Variant("t", plan.carrier.free_bytes),
        "carrier": Variant("s", plan.carrier.name),
        "carrier-reason": Variant("s", plan.carrier.reason),
        "stop": Variant("s", plan.stop),
        "blockers": Variant("as", list(plan.blockers)),
        "candidates": Variant("a(ss)", [list(candidate) for candidate in plan.candidates]),
    }
