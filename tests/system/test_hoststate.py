# SPDX-License-Identifier: LGPL-2.1-or-later
"""Host state over boots of a real systemd: changed by hand, and found again afterwards.

Baseline, search and restore run in the sandboxes of the units that are shipped.
"""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import liveupdated
from tests.lab.image import image
from tests.system.boots import Boots

UNITS = Path(__file__).parents[2] / "systemd/system"
FOUND = "/run/liveupdated/found.json"
OUTCOMES = "/var/lib/liveupdated/hoststate/outcomes.json"
SCRIPT = "/usr/bin/python3 -I /opt/hoststate_jump.py"
# What the boot itself sets: a restore has to come after it, and to leave it be.
SYSCTL = "net.ipv4.conf.all.log_martians = 1\nnet.ipv4.conf.default.log_martians = 1\n"
RULES = "flush ruleset\ntable inet boot {\n\tchain in {\n\t}\n}\n"
NETDEV = "[NetDev]\nName=managed\nKind=bridge\n"
NETWORK = (
    "[Match]\nName=managed\n[Network]\nAddress=10.88.0.1/24\nLinkLocalAddressing=no\n"
    "ConfigureWithoutCarrier=yes\n"
)

BY_HAND = """
set -e
sysctl -qw net.ipv4.conf.all.log_martians=0 net.core.somaxconn=777
ip link add br7 type bridge
ip link add va7.5 type veth peer name vb7
ip link set va7.5 master br7 up
ip link set vb7 up
ip address add 10.77.0.1/24 dev br7
ip address add fd77::1/64 dev br7
ip link set br7 up
ip address add 10.88.0.77/24 dev managed
ip route add 10.78.0.0/16 via 10.77.0.9 dev br7 metric 5
ip -6 route add fd78::/64 via fd77::9
ip route add blackhole 10.79.0.0/16
ip route add 10.80.0.0/16 via 10.88.0.9
ip rule add from 10.77.0.0/24 lookup 100 pref 1000
sysctl -qw net.ipv4.conf.va7/5.rp_filter=2
nft add table inet byhand
nft 'add chain inet byhand in { type filter hook input priority 10; }'
nft 'add rule inet byhand in iif br7 tcp dport 4444 drop'
nft 'add chain inet boot more'
nft add table inet firewalld
mkdir -p /mnt/bound
mount --bind /usr/share /mnt/bound
mkdir /run/memory
mount -t tmpfs -o size=10m memory /run/memory
echo precious > /run/memory/file
mkdir -p /sys/fs/cgroup/hand/below
echo 33 > /sys/fs/cgroup/hand/cgroup.max.descendants
"""
LOOK = """
sysctl net.ipv4.conf.all.log_martians net.core.somaxconn net.ipv4.conf.va7/5.rp_filter
ip -o link show va7.5 | grep -o 'va7.5@vb7.*master br7'
ip -o address show scope global | tr -s ' ' | cut -d ' ' -f 2-5 | sort
ip route show | grep -v '^10.88.0.0/24'
ip -6 route show | grep ^fd78
ip rule show
nft list table inet byhand
nft list table inet boot
grep -E ' (/mnt/bound|/run/memory)' /proc/self/mounts | cut -d ' ' -f 1-3
cat /run/memory/file
cat /sys/fs/cgroup/hand/cgroup.max.descendants
ls -d /sys/fs/cgroup/hand/below
"""
CHANGED = {"sysctl", "link", "nftables", "address", "route", "rule", "mount", "cgroup"}


def shipped(unit: str, command: str) -> str:
    """The unit as it is shipped, but for what it runs and waits for."""
    text = (UNITS / unit).read_text()
    text = re.sub(r"^ConditionPathIsSymbolicLink=.*\n", "", text, flags=re.MULTILINE)
    return re.sub(r"^ExecStart=.*", f"ExecStart={command}", text, flags=re.MULTILINE)


def install(boots: Boots, step: str) -> None:
    files = {
        "/opt/hoststate_jump.py": (Path(__file__).parent / "hoststate_jump.py").read_text(),
        "/etc/sysctl.d/test.conf": SYSCTL,
        "/etc/nftables.conf": RULES,
        "/etc/systemd/network/managed.netdev": NETDEV,
        "/etc/systemd/network/managed.network": NETWORK,
        "/etc/systemd/system/liveupdated-baseline.service": (
            UNITS / "liveupdated-baseline.service"
        ).read_text(),
        "/etc/systemd/system/plan.service": shipped(
            "liveupdated-plan.service", f"{SCRIPT} find {FOUND}"
        ),
        "/etc/systemd/system/jump.service": shipped(
            "liveupdated-restore.service", f"{SCRIPT} {step}"
        ).replace(
            "[Unit]\n", "[Unit]\nConditionPathExists=/var/lib/liveupdated/hoststate/saved.json\n"
        ),
    }
    for path, text in files.items():
        boots.run("tee", path, text=text)
    boots.run("systemctl", "daemon-reload")
    boots.run("systemctl", "enable", "liveupdated-baseline", "jump", "nftables", "systemd-networkd")


def find(boots: Boots) -> dict[str, dict[str, Any]]:
    boots.run("systemctl", "start", "plan.service")
    return {workload["name"]: workload for workload in json.loads(boots.run("cat", FOUND))}


def verdicts(boots: Boots) -> dict[str, str]:
    return {name: workload["verdict"] for name, workload in find(boots).items()}


def outcomes(boots: Boots) -> dict[str, list[str]]:
    """Once the restore is over."""
    end = time.monotonic() + 200
    while boots.run("systemctl", "show", "-PSubState", "jump.service").strip() != "exited":
        assert time.monotonic() < end, boots.run("journalctl", "-b", "-u", "jump.service")
        time.sleep(0.5)
    ended: dict[str, list[str]] = json.loads(boots.run("cat", OUTCOMES))
    return ended


def save_and_reboot(boots: Boots) -> None:
    boots.run("rm", "-f", OUTCOMES)
    boots.run("python3", "-I", "/opt/hoststate_jump.py", "save")
    boots.reboot()


@pytest.fixture(scope="module")
def boots(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boots]:
    """One machine for all; the tests tell one story in their order."""
    package = Path(liveupdated.__file__).parent
    with Boots(image().root, tmp_path_factory.mktemp("boots"), package) as booted:
        install(booted, "restore")
        booted.reboot()
        yield booted


def test_a_fresh_boot_has_nothing_made_by_hand(boots: Boots) -> None:
    assert "managed" in boots.run("ip", "link")
    assert find(boots) == {}


def test_what_was_made_by_hand_is_found_and_nothing_else(boots: Boots) -> None:
    boots.run("sh", "-c", BY_HAND)
    found = find(boots)
    assert {name: w["verdict"] for name, w in found.items()} == dict.fromkeys(CHANGED, "carried")
    assert "firewalld" not in found["nftables"]["reason"]
    assert "inet boot, inet byhand" in found["nftables"]["reason"]
    assert "with the files in /run/memory" in found["mount"]["reason"]
    assert {"link:br7", "link:va7.5", "hoststate:link"} <= set(found["link"]["provides"])
    assert {"path:/mnt/bound", "path:/run/memory"} <= set(found["mount"]["provides"])


def test_two_jumps_in_a_row_keep_it_all(boots: Boots) -> None:
    seen = boots.run("sh", "-c", LOOK)
    assert "precious" in seen and "10.88.0.77/24" in seen
    reasons = {name: w["reason"] for name, w in find(boots).items()}
    for _ in range(2):
        save_and_reboot(boots)
        assert outcomes(boots) == {name: ["carried", ""] for name in CHANGED}
        assert boots.run("sh", "-c", LOOK) == seen
        assert {name: w["reason"] for name, w in find(boots).items()} == reasons


def test_a_boot_that_was_no_jump_brings_the_same(boots: Boots) -> None:
    seen = boots.run("sh", "-c", LOOK)
    install(boots, "restart")
    save_and_reboot(boots)
    assert outcomes(boots) == {name: ["carried", ""] for name in CHANGED}
    assert boots.run("sh", "-c", LOOK) == seen
    install(boots, "restore")


def test_an_altered_artifact_is_refused_and_the_rest_comes_back(boots: Boots) -> None:
    boots.run("rm", "-f", OUTCOMES)
    boots.run("python3", "-I", "/opt/hoststate_jump.py", "save")
    state = "/var/lib/liveupdated/hoststate/nftables/state.json"
    boots.run("sed", "-i", "s/4444/4445/", state)
    archive = boots.run("sh", "-c", "ls /var/lib/liveupdated/hoststate/mount/*.tar").strip()
    boots.run("sh", "-c", f"printf x | dd of={archive} conv=notrunc status=none")
    boots.reboot()
    ended = outcomes(boots)
    for name in ("nftables", "mount"):
        assert ended[name][0] == "failed"
        assert "was altered: its digest does not fit" in ended[name][1]
    assert {name for name, (outcome, _) in ended.items() if outcome == "carried"} == CHANGED - {
        "nftables",
        "mount",
    }
    assert "byhand" not in boots.run("nft", "list", "tables")


def test_what_is_not_there_any_more_is_named(boots: Boots) -> None:
    """The link that an address stands on is left out of what is saved."""
    assert "address" in find(boots)
    boots.run("rm", "-f", OUTCOMES)
    boots.run("python3", "-I", "/opt/hoststate_jump.py", "save")
    boots.run("rm", "/etc/systemd/network/managed.netdev")
    boots.reboot()
    ended = outcomes(boots)
    assert ended["link"] == ["carried", ""]
    assert ended["address"][0] == "failed"
    assert "managed 10.88.0.77/24" in ended["address"][1]
    assert "10.77.0.1/24" in boots.run("ip", "address")
    assert "via 10.88.0.9" in ended["route"][1]


def test_noted_anew_it_is_said_since_when_and_what_was_put_back_is_known(boots: Boots) -> None:
    before = verdicts(boots)
    assert before["sysctl"] == "carried"
    boots.run("rm", "/run/liveupdated/baseline.json")
    assert verdicts(boots) == {"unknown": "lost"}
    boots.run("systemctl", "restart", "liveupdated-baseline.service")
    found = find(boots)
    assert {name: w["verdict"] for name, w in found.items()} == before
    assert "(what was before is not known)" in found["sysctl"]["reason"]


def test_what_cannot_be_put_back_is_lost(boots: Boots) -> None:
    boots.run("ip", "netns", "add", "space")
    boots.run("ip", "link", "add", "out7", "type", "veth", "peer", "name", "in7", "netns", "space")
    found = find(boots)
    assert found["lost-link"]["verdict"] == found["lost-mount"]["verdict"] == "lost"
    assert "out7: its other end is in another network namespace" in found["lost-link"]["reason"]
    assert "/run/netns/space: it keeps a namespace" in found["lost-mount"]["reason"]
