# SPDX-License-Identifier: LGPL-2.1-or-later
"""Containers without podman: verdicts, unit files, the seal of a checkpoint."""

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from liveupdated import paths, unitrestore
from liveupdated.host import Host
from liveupdated.podman import checkpoint, obstacles
from liveupdated.session import Outcome, Verdict, Workload
from liveupdated.workloads import containers
from liveupdated.workloads.containers import ContainerRule

INFRA = "b" * 64


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "RESTORING", tmp_path / "restoring")
    monkeypatch.setattr(paths, "CLAIMED", tmp_path / "claimed")


def container(**host: Any) -> dict[str, Any]:
    """As `podman container inspect` prints it, as far as it is looked at."""
    return {
        "Id": "a" * 64,
        "Name": "web",
        "StaticDir": "/nowhere",
        "OCIRuntime": "crun",
        "State": {"Pid": 99999999, "ConmonPid": 99999998, "Paused": False},
        "HostConfig": {"NetworkMode": "bridge", "IpcMode": "shareable", **host},
        "Config": {"Tty": False},
        "Mounts": [],
    }


def judged(found: dict[str, Any], *rules: ContainerRule, unit: str = "") -> Workload:
    host = Host(rules=list(rules))
    host.__dict__["units"] = {}
    made = {found["Id"]: unit} if unit else {}
    return containers._judge(host, found, {found["Id"]: unit}, made, [])


def saved(**facts: Any) -> Workload:
    workload = Workload("containers:web", "containers", "web", Verdict.CARRIED, "")
    workload.facts = {"id": "a" * 64, "bundle": "/nowhere", "joins": {}, "unit": "", **facts}
    workload.saved = {"launch": "digest", "cgroup": "/nowhere"}
    return workload


def test_an_ordinary_container_has_no_obstacle() -> None:
    assert obstacles.of(container()) == []


@pytest.mark.parametrize(
    ("host", "word"),
    [
        ({"NetworkMode": "host"}, "network"),
        ({"PidMode": "host"}, "--pid=host"),
        ({"IpcMode": "host"}, "--ipc=host"),
        ({"UsernsMode": "auto"}, "--userns"),
        ({"Privileged": True}, "--privileged"),
        ({"Devices": [{"PathOnHost": "/dev/fuse"}]}, "--device"),
        ({"AutoRemove": True, "NetworkMode": f"container:{INFRA}"}, "--rm"),
    ],
)
def test_an_obstacle_is_named_with_the_way_out(host: dict[str, Any], word: str) -> None:
    [reason] = obstacles.of(container(**host))
    assert word in reason and "way out" in reason


def test_what_a_rule_wants_carried_blocks_when_it_cannot_be() -> None:
    rule = ContainerRule("w*", "memory", "rules.toml")
    assert judged(container(Privileged=True), rule).verdict is Verdict.BLOCKS
    assert judged(container(Privileged=True)).verdict is Verdict.RESTARTED


def test_what_nothing_makes_anew_is_lost() -> None:
    rule = ContainerRule("web", "no", "rules.toml")
    assert judged(container(AutoRemove=True), rule).verdict is Verdict.LOST
    owned = judged(container(AutoRemove=True), rule, unit="web.service")
    assert owned.verdict is Verdict.RESTARTED and "web.service" in owned.reason
    assert owned.provides == [f"container:{'a' * 64}", "unit:web.service"]


def test_a_member_needs_the_one_whose_namespaces_it_shares() -> None:
    workload = judged(container(NetworkMode=f"container:{INFRA}"))
    assert f"container:{INFRA}" in workload.needs
    assert workload.facts["joins"] == {"network": INFRA}


def test_a_free_container_has_a_unit_before_podman_restart(tmp_path: Path) -> None:
    files = containers.boot_files(saved(joins={"network": INFRA}), tmp_path)
    unit = files["liveupdated-container-aaaaaaaaaaaa.service"]
    assert f"restore-container {tmp_path} digest" in unit
    assert "liveupdated-container-bbbbbbbbbbbb.service\nBefore=podman-restart.service" in unit
    [wants] = [text for path, text in files.items() if path.startswith("multi-user.target.d/")]
    assert "Wants=liveupdated-container-aaaaaaaaaaaa.service" in wants


def test_an_owned_container_comes_back_in_its_service_and_is_held_there(tmp_path: Path) -> None:
    workload = saved(unit="web.service")
    [(path, text)] = containers.boot_files(workload, tmp_path).items()
    assert path.startswith("web.service.d/") and "Type=notify" in text
    [(path, text)] = containers.hold_files(workload).items()
    assert path.startswith("web.service.d/") and "Restart=no" in text


def test_what_the_boot_has_restored_is_not_started_again(tmp_path: Path) -> None:
    workload = saved()
    containers.prepare(workload, tmp_path)
    (unitrestore.folder(containers._unit(workload)) / "running").touch()
    assert containers.restore(workload, tmp_path, lambda mark: None).outcome is Outcome.CARRIED


def test_a_unit_serves_once(tmp_path: Path) -> None:
    workload = saved()
    until = unitrestore.until_settled(containers._unit(workload))
    assert all(until in text for text in containers.boot_files(workload, tmp_path).values())


def test_the_seal_of_a_checkpoint_in_place_tells_what_was_altered(tmp_path: Path) -> None:
    images = tmp_path / checkpoint.CHECKPOINT
    images.mkdir()
    (images / "core-1.img").write_bytes(b"core")
    (images / "pages-1.img").write_bytes(b"memory")
    before = checkpoint.seal(tmp_path, None)
    assert checkpoint.seal(tmp_path, None) == before
    for name in ("core-1.img", "pages-1.img"):
        content = (images / name).read_bytes()
        (images / name).write_bytes(content + b"!")
        assert checkpoint.seal(tmp_path, None) != before
        (images / name).write_bytes(content)
    (images / "core-2.img").touch()
    assert checkpoint.seal(tmp_path, None) != before


def test_the_seal_of_an_export_reads_all_but_the_memory(tmp_path: Path) -> None:
    seals = set()
    for content in (b"one", b"two"):
        export = tmp_path / checkpoint.EXPORT
        with tarfile.open(export, "w") as archive:
            member = tarfile.TarInfo(f"{checkpoint.CHECKPOINT}/core-1.img")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        os.utime(export, ns=(0, 0))
        seals.add(checkpoint.seal(tmp_path, export))
    assert len(seals) == 2
