# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon's properties, whichever way they came, as shapes.

Raises KeyError where one is missing.
"""

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
        predicted_blackout_us=p["PredictedBlackout"],
        blackout_us=p["Blackout"],
        outcomes=p["Outcomes"],
    )
