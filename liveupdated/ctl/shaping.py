# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon's properties, whichever way they came, as shapes.

Raises KeyError where one is missing.
"""

import shlex
from collections.abc import Sequence
from typing import Any

from liveupdated.ctl import shapes

Properties = dict[str, Any]


def status(manager: Properties, last: Properties | None) -> shapes.Status:
    """Of the manager, and of the last session if there is one."""
    return shapes.Status(
        version=manager["Version"],
        state=manager["State"],
        running_kernel=manager["RunningKernel"],
        staged_kernel=manager["StagedKernel"],
        rung=manager["Rung"],
        reboot_required=manager["RebootRequired"],
        next_update_us=manager["NextUpdate"],
        inhibitors=[
            shapes.Inhibitor(who=who, why=why, mode=mode, uid=uid, pid=pid)
            for who, why, mode, uid, pid in manager["Inhibitors"]
        ],
        last_session=None if last is None else session(last),
    )


def session(p: Properties) -> shapes.Session:
    return shapes.Session(
        id=p["Id"],
        state=p["State"],
        road=p["Road"],
        rung=p["Rung"],
        origin_kernel=p["OriginKernel"],
        target_kernel=p["TargetKernel"],
        arrival_kernel=p["ArrivalKernel"],
        created_us=p["Created"],
        reason=p["Reason"],
        notes=p["Notes"],
        carrier=p["Carrier"],
        stop=p["Stop"],
        predicted_blackout_us=p["PredictedBlackout"],
        blackout_us=p["Blackout"],
        outcomes=p["Outcomes"],
    )


def kernel(p: Properties) -> shapes.Kernel:
    return shapes.Kernel(
        id=p["Id"],
        release=p["Release"],
        architecture=p["Architecture"],
        kind=p["Kind"],
        image=p["Image"],
        initrds=p["Initrds"],
        command_line=p["CommandLine"],
        source=p["Source"],
        features=p["Features"],
        running=p["Running"],
        staged=p["Staged"],
        blocked=p["Blocked"],
        problems=p["Problems"],
    )


def workload(p: Properties) -> shapes.Workload:
    return shapes.Workload(
        id=p["Id"],
        kind=p["Kind"],
        name=p["Name"],
        verdict=p["Verdict"],
        reason=p["Reason"],
        source=p["Source"],
        bytes=p["Bytes"],
        cost_us=p["Cost"],
    )


def plan(summary: Properties, rows: Sequence[Properties]) -> shapes.Plan:
    """What Plan answers."""
    return shapes.Plan(
        kernel=summary["kernel"],
        release=summary["release"],
        rung=summary["rung"],
        rung_reason=summary["rung-reason"],
        blackout_us=summary["blackout"],
        bytes=summary["bytes"],
        free_bytes=summary["free-bytes"],
        carrier=summary["carrier"],
        carrier_reason=summary["carrier-reason"],
        stop=summary["stop"],
        blockers=summary["blockers"],
        candidates=[
            shapes.Candidate(name=name, why=why, command=f"liveupdatectl carry {shlex.quote(name)}")
            for name, why in summary["candidates"]
        ],
        workloads=[_plan_row(row) for row in rows],
    )


def _plan_row(row: Properties) -> shapes.Workload:
    return shapes.Workload(
        id=row["id"],
        kind=row["kind"],
        name=row["name"],
        verdict=row["verdict"],
        reason=row["reason"],
        source=row["source"],
        bytes=row["bytes"],
        cost_us=row["cost"],
    )


def _session_workload(row: Properties) -> shapes.SessionWorkload:
    return shapes.SessionWorkload(
        **_plan_row(row),
        outcome=row["outcome"],
        outcome_reason=row["outcome-reason"],
        frozen_us=row["frozen"],
    )


def session_detail(p: Properties) -> shapes.SessionDetail:
    return shapes.SessionDetail(
        **session(p),
        workloads=[_session_workload(row) for row in p["Workloads"]],
    )


def timeline(properties: Properties) -> shapes.Timeline:
    phases = [
        shapes.Phase(name=name, start_us=start, duration_us=duration, workload=workload)
        for name, start, duration, workload in properties["Phases"]
    ]
    top = [phase for phase in phases if not phase["workload"] and "/" not in phase["name"]]
    return shapes.Timeline(
        session=properties["Id"],
        start_us=top[0]["start_us"] if top else 0,
        duration_us=sum(phase["duration_us"] for phase in top),
        blackout_us=properties["Blackout"],
        predicted_blackout_us=properties["PredictedBlackout"],
        phases=phases,
        marks=[
            shapes.Mark(
                name=name,
                realtime_us=realtime,
                boottime_us=boottime,
                boot_id=boot_id,
                workload=workload,
            )
            for name, realtime, boottime, boot_id, workload in properties["Marks"]
        ],
        clock_steps=[
            shapes.ClockStep(boot_id=boot_id, after=after, before=before, step_us=step)
            for boot_id, after, before, step in properties["ClockSteps"]
        ],
        uncertainty_us=properties["Uncertainty"],
        notes=properties["TimelineNotes"],
    )
