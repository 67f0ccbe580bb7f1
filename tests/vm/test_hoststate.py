# SPDX-License-Identifier: LGPL-2.1-or-later
"""Host state made by hand, over two live updates in a row: found, put back, and found again."""

import subprocess
from pathlib import Path
from typing import Any

from tests.lab.qemu import Machine
from tests.vm.guest import JUMP_LIMIT_S, busctl, ctl, kernel_id, release, wait_finished

BY_HAND = """
set -e
sysctl -qw vm.swappiness=42 net.ipv4.ip_forward=1
modprobe brd rd_nr=1 rd_size=4096
ip link add br7 type bridge stp_state 1
ip link add dummy7 address 02:00:00:00:00:07 mtu 1400 type dummy
ip link set dummy7 master br7 up
ip address add 10.77.0.1/24 dev br7
ip link set br7 up
ip route add 10.78.0.0/16 via 10.77.0.9 dev br7 metric 5
ip address add 10.0.2.99/24 dev eth0
ip route add 10.79.0.0/16 via 10.0.2.2 dev eth0
ip rule add from 10.77.0.0/24 lookup 100 pref 1000
sysctl -qw net.ipv4.conf.br7.rp_filter=2
nft add table inet byhand
nft 'add chain inet byhand in { type filter hook input priority 10; }'
nft 'add rule inet byhand in iif br7 tcp dport 4444 drop'
mkdir -p /mnt/bound /mnt/image /run/memory
mount --bind /usr/share /mnt/bound
mount -o remount,bind,ro /mnt/bound
mount -o loop,noatime /var/image /mnt/image
mount -t tmpfs -o size=10m,mode=750 memory /run/memory
mkdir -m 700 /run/memory/folder
echo precious > /run/memory/folder/file
chown -R nobody /run/memory/folder
dd if=/dev/zero of=/var/swap bs=1M count=16 status=none
chmod 600 /var/swap
mkswap -q /var/swap
swapon -p 5 /var/swap
echo 8 > /proc/sys/vm/nr_hugepages
mkdir -p /sys/fs/cgroup/hand/below
echo 50M > /sys/fs/cgroup/hand/memory.max
"""
LOOK = """
sysctl vm.swappiness net.ipv4.ip_forward net.ipv4.conf.br7.rp_filter vm.nr_hugepages
cat /sys/module/brd/parameters/rd_size
ip -o -d link show dummy7 | grep -o 'mtu 1400.*master br7.*02:00:00:00:00:07'
ip -o -d link show br7 | grep -o 'stp_state 1'
ip -o -4 address show scope global | tr -s ' ' | cut -d ' ' -f 2- | sort
ip route show | sed 's/ linkdown//'
ip rule show
nft list ruleset
grep -E ' (/mnt/|/run/memory)' /proc/self/mounts
ls -lR --time-style=+%s /run/memory
cat /run/memory/folder/file
cat /proc/swaps
cd /sys/fs/cgroup/hand
ls -d below
cat memory.max
"""
FOUND = {
    "module",
    "sysctl",
    "hugepages",
    "link",
    "nftables",
    "address",
    "route",
    "rule",
    "cgroup",
    "mount",
    "swap",
}


def test_host_state_made_by_hand_is_there_after_each_of_two_jumps(
    vm: Machine, tmp_path: Path
) -> None:
    assert of_the_host(ctl(vm, "plan")) == {}, "a fresh boot has nothing made by hand"
    vm.put(file_system(tmp_path / "image"), "/var/image")
    vm.run(BY_HAND)
    seen = vm.run(LOOK).stdout
    assert set(verdicts(vm)) == FOUND
    rehearse(vm)
    assert vm.run(LOOK).stdout == seen
    for version in ("7.3", "6.12"):
        plan = verdicts(vm)
        assert plan == dict.fromkeys(FOUND, "carried")
        session = jump(vm, version)
        ended = {
            name: (w["outcome"], w["outcome_reason"]) for name, w in of_the_host(session).items()
        }
        assert ended == dict.fromkeys(FOUND, ("carried", ""))
        assert session["state"] == "confirmed", session["notes"]
        assert vm.run(LOOK).stdout == seen


def of_the_host(listed: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {w["name"]: w for w in listed["workloads"] if w["id"].startswith("hoststate:")}


def verdicts(vm: Machine) -> dict[str, str]:
    return {name: w["verdict"] for name, w in of_the_host(ctl(vm, "plan")).items()}


def rehearse(vm: Machine) -> None:
    vm.run(["liveupdatectl", "rehearse"], timeout=JUMP_LIMIT_S)
    assert ctl(vm, "history last")["state"] == "rehearsed"


def jump(vm: Machine, version: str) -> dict[str, Any]:
    first = vm.boot_id()
    busctl(vm, f"Update a{{sv}} 1 kernel s {kernel_id(vm, version)}")
    session = wait_finished(vm, first)
    assert release(vm).startswith(version)
    return session


def file_system(path: Path) -> bytes:
    """A small ext4; the guest has no tool to make one."""
    command = ["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", str(path), "2M"]
    subprocess.run(command, check=True, capture_output=True)
    return path.read_bytes()
