# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pods of Kubernetes on this node: named, and in the way of an update until the node is drained.

Where its pods run is the cluster's to decide: `kubectl drain` has it move them, with the disruption
budgets that it knows and we do not.  Found by the cgroups that kubelet makes for pods, which have
the pod's UID in their names; no client and no key to the cluster is needed.
"""

import json
import os
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from liveupdated import cgroup
from liveupdated.session import Outcome, Verdict, Workload
from liveupdated.workloads import Marker, Result

if TYPE_CHECKING:
    from liveupdated.host import Host

KIND = "kubernetes"
RULE = None

# kubelet's cgroup drivers `systemd` and `cgroupfs`: pod_container_manager_linux.go and
# cgroup_manager_linux.go of its pkg/kubelet/cm.
POD = re.compile(r"(?:kubepods.*-)?pod([0-9a-f]{8}[-_].{23,27}?|[0-9a-f]{32})(?:\.slice)?")
LIMIT_S = 180.0
TREES = ("kubepods.slice", "kubepods")
LOGS = Path("/var/log/pods")
"""kubelet has a folder NAMESPACE_NAME_UID a pod there."""
MANIFESTS = Path("/etc/kubernetes/manifests")
"""Static pods, which a drain leaves and kubelet itself starts again (kubeadm's place for them)."""


def find(host: "Host") -> Iterable[Workload]:
    """Every pod with a process in it."""
    names = _names()
    for uid, pids in sorted(pods().items()):
        host.spoken_for_pids.update(pids)
        yield _workload(uid, names.get(uid, f"pod-{uid}"), len(pids))


def pods() -> dict[str, list[int]]:
    """The processes of each pod that has any, by the pod's UID."""
    found: dict[str, list[int]] = {}
    for tree in TREES:
        for path, folders, _ in os.walk(cgroup.ROOT / tree):
            for folder in list(folders):
                if match := POD.fullmatch(folder):
                    folders.remove(folder)
                    if pids := cgroup.pids(Path(path, folder)):
                        found[match[1].replace("_", "-")] = pids
    return found


def _names() -> dict[str, str]:
    """The pods' namespaces and names, by UID."""
    try:
        folders = [name.split("_") for name in os.listdir(LOGS)]
    except OSError:
        return {}
    return {words[2]: f"{words[0]}/{words[1]}" for words in folders if len(words) == 3}


def _workload(uid: str, name: str, processes: int) -> Workload:
    workload = Workload(f"{KIND}:{name}", KIND, name, Verdict.RESTARTED, "")
    workload.facts = {"uid": uid}
    if name.partition("/")[2].startswith(tuple(f"{pod}-" for pod in _static())):
        workload.reason = "a static pod: kubelet starts it again, its memory is lost"
        return workload
    workload.verdict = Verdict.BLOCKS
    what = "a process" if processes == 1 else f"{processes} processes"
    workload.reason = (
        f"a pod of Kubernetes, {what}: where it runs is the cluster's to decide "
        "(way out: kubectl drain --ignore-daemonsets, then `--accept-loss` for what stays)"
    )
    return workload


def _static() -> list[str]:
    """Names of static pods; the mirror of each has the node's name after it."""
    found = []
    for file in sorted(MANIFESTS.glob("*")):
        text = file.read_text(errors="replace")
        try:
            found.append(json.loads(text)["metadata"]["name"])
        except (ValueError, KeyError, TypeError):
            named = re.search(r"^metadata:\s*\n(?:[ \t]+.*\n)*?[ \t]+name:\s*(\S+)", text, re.M)
            found += [named[1].strip("\"'")] if named else []
    return found


# --- nothing is saved, and kubelet brings back what belongs here ---


def hold_files(workload: Workload) -> dict[str, str]:
    return {}


def save(workload: Workload, artifacts: Path, mark: Marker) -> None:
    """Its loss was agreed to."""


def commit(workload: Workload) -> None:
    """The shutdown ends it as ever."""


def resume(workload: Workload, artifacts: Path) -> None:
    """It was not touched."""


def boot_files(workload: Workload, artifacts: Path) -> dict[str, str]:
    return {}


def prepare(workload: Workload, artifacts: Path) -> None:
    """Nothing has to be ready."""


def restore(workload: Workload, artifacts: Path, mark: Marker) -> Result:
    return restart(workload)


def restart(workload: Workload) -> Result:
    """See kubelet start it again: a pod that stays on its node keeps its UID."""
    end = time.monotonic() + LIMIT_S
    while workload.facts["uid"] not in pods():
        if time.monotonic() > end:
            return Result(Outcome.LOST, f"kubelet has not started it after {LIMIT_S:.0f} s")
        time.sleep(1)
    return Result(Outcome.RESTARTED, workload.reason)


def settle() -> None:
    """Nothing was held."""
