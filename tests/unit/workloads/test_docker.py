# SPDX-License-Identifier: LGPL-2.1-or-later
"""Docker's containers without Docker: verdicts."""

from typing import Any

import pytest

from liveupdated.host import Host
from liveupdated.session import Verdict, Workload
from liveupdated.workloads import docker
from liveupdated.workloads.docker import DockerRule


def judged(*rules: DockerRule, policy: str = "no", **host_config: Any) -> Workload:
    host = Host(rules=list(rules))
    host.__dict__["units"] = {}
    container = {
        "Id": "a" * 64,
        "Name": "/web",
        "State": {"Pid": 99999999},
        "HostConfig": {"RestartPolicy": {"Name": policy}, **host_config},
    }
    return docker._judge(host, container)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("always", "Docker starts it again"),
        ("unless-stopped", "Docker starts it again"),
        ("on-failure", "the same container, started again"),
        ("no", "the same container, started again"),
    ],
)
def test_what_starts_it_again_is_named(policy: str, words: str) -> None:
    workload = judged(policy=policy)
    assert workload.verdict is Verdict.RESTARTED and words in workload.reason
    assert workload.id == "docker:web" and "unit:docker.service" in workload.needs


def test_what_nothing_makes_anew_is_lost() -> None:
    assert judged(AutoRemove=True).verdict is Verdict.LOST


def test_memory_is_never_claimed() -> None:
    workload = judged(DockerRule("w*", "memory", "rules.toml"), policy="always")
    assert workload.verdict is Verdict.BLOCKS and "way out" in workload.reason
    workload = judged(DockerRule("w*", "no", "rules.toml"), policy="always")
    assert workload.verdict is Verdict.RESTARTED and workload.source == "rules.toml"
