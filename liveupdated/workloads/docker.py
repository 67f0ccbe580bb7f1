# SPDX-License-Identifier: LGPL-2.1-or-later
"""Containers of Docker: started again, with what is in their layers and volumes.

Their memory is not carried: `docker checkpoint` is experimental, and the daemon takes no checkpoint
back from a folder of ours (docs/workloads/containers.md).  What it does not start by itself after a
boot, for want of a restart policy, is started by us.
"""

import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from liveupdated import cgroup, dockerd, unitfiles, unitrestore
from liveupdated.errors import LiveUpdateError, ServiceError
from liveupdated.session import Json, Outcome, Verdict, Workload
from liveupdated.workloads import Marker, Result

if TYPE_CHECKING:
    from liveupdated.host import Host

KIND = "docker"
RUNNING_LIMIT_S = 120.0
# What the daemon starts by itself.  Not `on-failure`: the shutdown stops the container, and one
# that ended without an error stays as it is.
COMES_BACK = ("always", "unless-stopped")


@dataclass(frozen=True)
class DockerRule:
    """What `workloads.d` can say about a container of Docker."""

    docker: str
    """Name, or a pattern with `*` and `?`."""
    carry: Literal["memory", "no"]
    source: str = ""


RULE = DockerRule


def find(host: "Host") -> Iterable[Workload]:
    """Every container of Docker's that runs."""
    if not dockerd.runs():
        return []
    return [_judge(host, each) for each in dockerd.running()]


def _judge(host: "Host", container: Json) -> Workload:
    name = container["Name"].removeprefix("/")
    policy = container["HostConfig"]["RestartPolicy"]["Name"]
    rule = host.rule(DockerRule, name)
    workload = Workload(f"{KIND}:{name}", KIND, name, Verdict.RESTARTED, "")
    workload.source = rule.source if rule else ""
    workload.needs = [f"unit:{dockerd.UNIT}"]
    with contextlib.suppress(OSError, LiveUpdateError):
        group = cgroup.folder(cgroup.of_process(container["State"]["Pid"]))
        host.spoken_for_pids.update(cgroup.pids(group))
    unit = host.units.get(dockerd.UNIT, {})
    workload.facts = {
        "id": container["Id"],
        "start": bool(unit) and unitfiles.needs_start(host, dockerd.UNIT),
        "files": unitfiles.unit_files(unit) if unit else {},
    }
    if rule and rule.carry == "memory":
        workload.verdict = Verdict.BLOCKS
        workload.reason = (
            "its memory is to be carried, but what Docker can checkpoint is an experiment "
            "(way out: podman)"
        )
    elif container["HostConfig"].get("AutoRemove"):
        workload.verdict = Verdict.LOST
        workload.reason = "Docker removes it when it ends (--rm), and nothing makes it anew"
    elif policy in COMES_BACK:
        workload.reason = f"Docker starts it again (--restart={policy}), its memory is lost"
    else:
        workload.reason = "the same container, started again, its memory is lost"
    return workload


# --- save: nothing is frozen here ---


def hold_files(workload: Workload) -> dict[str, str]:
    return {}


def save(workload: Workload, artifacts: Path, mark: Marker) -> None:
    """The daemon knows all that is needed."""


def commit(workload: Workload) -> None:
    """The shutdown ends it as ever."""


def resume(workload: Workload, artifacts: Path) -> None:
    """It was not touched."""


# --- restore ---


def boot_files(workload: Workload, artifacts: Path) -> dict[str, str]:
    return {}


def prepare(workload: Workload, artifacts: Path) -> None:
    """Nothing has to be ready before the daemon is."""


def restore(workload: Workload, artifacts: Path, mark: Marker) -> Result:
    facts = workload.facts
    try:
        if facts["start"]:
            unitfiles.start(dockerd.UNIT, facts["files"])
        _start(facts["id"])
    except LiveUpdateError as error:
        return Result(Outcome.FAILED, f"{workload.reason}; {error}")
    return Result(Outcome.RESTARTED, workload.reason)


def _start(container_id: str) -> None:
    """Start it once the daemon is there; one that it has started already stays as it is."""
    if not unitrestore.wait_active(dockerd.UNIT):
        raise ServiceError(f"{dockerd.UNIT} does not start")
    dockerd.call("POST", f"/containers/{container_id}/start")
    end = time.monotonic() + RUNNING_LIMIT_S
    while not dockerd.inspect(container_id)["State"]["Running"]:
        if time.monotonic() > end:
            raise ServiceError("it does not stay up")
        time.sleep(0.3)


def restart(workload: Workload) -> Result:
    return restore(workload, Path(), lambda name: None)


def settle() -> None:
    """Nothing was held."""
