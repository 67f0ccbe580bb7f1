# SPDX-License-Identifier: LGPL-2.1-or-later
"""Docker's containers over a boot, with a real dockerd."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import liveupdated
from liveupdated import dockerd
from tests.lab.image import Image
from tests.system.boots import Boots

HERE = Path(__file__).parent
# What a container without a network of its own needs least.
SETTINGS = {"storage-driver": "vfs", "iptables": False, "ip6tables": False, "bridge": "none"}
KEEPS, PLAIN, PASSING = "keeps", "plain", "passing"
POLICIES = {KEEPS: "unless-stopped", PLAIN: "no", PASSING: "rm"}
RULE = '[[workload]]\ndocker = "plain"\ncarry = "memory"\n'
STARTS = """\
import json, sys
from pathlib import Path
from liveupdated import dockerd
for each in dockerd.running():
    root = Path("/proc", str(each["State"]["Pid"]), "root")
    print(each["Name"].removeprefix("/"), len((root / "starts").read_text().split()))
"""
"""How often each container that runs was started: what its layer has kept."""


@pytest.fixture
def boots(tmp_path: Path, lab_image: Image) -> Iterator[Boots]:
    with Boots(lab_image.root, tmp_path, Path(liveupdated.__file__).parent) as box:
        box.run("tee", "/etc/docker/daemon.json", text=json.dumps(SETTINGS))
        for file in (HERE / "kind_jump.py", HERE / "docker_run.py"):
            box.run("tee", f"/opt/{file.name}", text=file.read_text())
        box.run("systemctl", "unmask", "docker.service", "docker.socket", "containerd.service")
        box.run("systemctl", "enable", "--now", dockerd.UNIT)
        yield box


def step(box: Boots, name: str) -> str:
    return box.run("env", "KIND=docker", "python3", "/opt/kind_jump.py", name)


def starts(box: Boots) -> dict[str, int]:
    lines = box.run("python3", "-c", STARTS).splitlines()
    return {name: int(count) for name, count in map(str.split, lines)}


def test_containers_come_back_as_the_plan_says(boots: Boots) -> None:
    for name, policy in POLICIES.items():
        boots.run("python3", "/opt/docker_run.py", name, policy)
    assert starts(boots) == {KEEPS: 1, PLAIN: 1, PASSING: 1}
    found = {each["name"]: each for each in json.loads(step(boots, "find"))}
    assert {name: each["verdict"] for name, each in found.items()} == {
        KEEPS: "restarted",
        PLAIN: "restarted",
        PASSING: "lost",
    }
    assert "--rm" in found[PASSING]["reason"]
    step(boots, "save")

    boots.reboot()

    step(boots, "restore")
    outcomes = {
        name: outcome for name, outcome, _ in json.loads(boots.run("cat", "/var/lib/outcomes.json"))
    }
    assert outcomes == {KEEPS: "restarted", PLAIN: "restarted", PASSING: "lost"}
    assert starts(boots) == {KEEPS: 2, PLAIN: 2}
    what_must_be_carried_blocks(boots)


def what_must_be_carried_blocks(boots: Boots) -> None:
    boots.run("mkdir", "-p", "/etc/liveupdated/workloads.d")
    boots.run("tee", "/etc/liveupdated/workloads.d/docker.toml", text=RULE)
    [plain] = [each for each in json.loads(step(boots, "find")) if each["name"] == PLAIN]
    assert plain["verdict"] == "blocks"
    assert "podman" in plain["reason"]
