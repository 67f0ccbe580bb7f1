# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pods by their cgroups.  No Kubernetes runs here: folders of the names that kubelet gives them
stand in for it."""

from pathlib import Path

import pytest

from liveupdated import cgroup
from liveupdated.host import Host
from liveupdated.session import Outcome, Verdict
from liveupdated.workloads import kubernetes

UID = "0a1b2c3d-0000-4000-8000-123456789abc"
STATIC_UID = "d0" * 16
SYSTEMD = (
    f"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID.replace('-', '_')}.slice"
)
CGROUPFS = f"kubepods/besteffort/pod{STATIC_UID}"


@pytest.fixture(autouse=True)
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cgroup, "ROOT", tmp_path)
    monkeypatch.setattr(kubernetes, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(kubernetes, "MANIFESTS", tmp_path / "manifests")
    monkeypatch.setattr(kubernetes, "LIMIT_S", 0.0)
    return tmp_path


def pod(node: Path, path: str, pids: str = "11\n12\n") -> None:
    container = node / path / "cri-containerd-0123.scope"
    container.mkdir(parents=True)
    (container / "cgroup.procs").write_text(pids)


@pytest.mark.parametrize(("path", "uid"), [(SYSTEMD, UID), (CGROUPFS, STATIC_UID)])
def test_a_pod_is_in_the_way_until_the_node_is_drained(node: Path, path: str, uid: str) -> None:
    pod(node, path)
    (node / f"logs/shop_web-1_{uid}").mkdir(parents=True)
    host = Host(rules=[])
    [workload] = kubernetes.find(host)
    assert workload.id == "kubernetes:shop/web-1" and workload.verdict is Verdict.BLOCKS
    assert "kubectl drain" in workload.reason and "2 processes" in workload.reason
    assert host.spoken_for_pids == {11, 12}


def test_a_drained_node_has_nothing_to_say(node: Path) -> None:
    assert list(kubernetes.find(Host(rules=[]))) == []
    pod(node, SYSTEMD, pids="")
    assert list(kubernetes.find(Host(rules=[]))) == []


def test_a_static_pod_is_kubelets_to_start_again(node: Path) -> None:
    pod(node, CGROUPFS)
    (node / f"logs/kube-system_etcd-node1_{STATIC_UID}").mkdir(parents=True)
    (node / "manifests").mkdir()
    (node / "manifests/etcd.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  labels:\n    tier: x\n  name: etcd\n"
    )
    [workload] = kubernetes.find(Host(rules=[]))
    assert workload.verdict is Verdict.RESTARTED and "static" in workload.reason


def test_what_kubelet_did_not_start_again_is_lost(node: Path) -> None:
    pod(node, SYSTEMD)
    [workload] = kubernetes.find(Host(rules=[]))
    assert kubernetes.restart(workload).outcome is Outcome.RESTARTED
    workload.facts["uid"] = "another"
    assert kubernetes.restart(workload).outcome is Outcome.LOST
