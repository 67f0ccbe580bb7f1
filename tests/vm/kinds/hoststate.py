# SPDX-License-Identifier: LGPL-2.1-or-later
"""Host state made by hand: found, put back, and found again."""

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.lab.qemu import Machine
from tests.vm.guest import HERE
from tests.vm.kinds import Row

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
echo $(( $(cat /proc/sys/vm/nr_hugepages) + 8 )) > /proc/sys/vm/nr_hugepages
mkdir -p /sys/fs/cgroup/hand/below
echo 50M > /sys/fs/cgroup/hand/memory.max
"""
LOOK = """
sysctl vm.swappiness net.ipv4.ip_forward net.ipv4.conf.br7.rp_filter vm.nr_hugepages
cat /sys/module/brd/parameters/rd_size
ip -o -d link show dummy7 | grep -o 'mtu 1400.*master br7.*02:00:00:00:00:07'
ip -o -d link show br7 | grep -o 'stp_state 1'
ip -o -4 address show to 10.77.0.1 | tr -s ' ' | cut -d ' ' -f 2-
ip -o -4 address show to 10.0.2.99 | tr -s ' ' | cut -d ' ' -f 2-
ip route show to root 10.78.0.0/15 | sed 's/ linkdown//'
ip rule show pref 1000
nft list table inet byhand
grep -E ' (/mnt/|/run/memory)' /proc/self/mounts
ls -lR --time-style=+%s /run/memory
cat /run/memory/folder/file
cat /proc/swaps
cd /sys/fs/cgroup/hand
ls -d below
cat memory.max
"""
BEFORE = "/var/lib/hoststate.before"
FOUND = "module sysctl hugepages link nftables address route rule cgroup mount swap".split()
STATE = {f"hoststate:{name}": "carried" for name in FOUND}
PLANNED = {**STATE, "services:stander.service": "carried"}
OUTCOMES = PLANNED
STANDER = b"""\
[Service]
X-LiveUpdate=carry
ExecStart=/usr/local/bin/stander /mnt/image 10.77.0.1
[Install]
WantedBy=multi-user.target
"""
LOG = "/mnt/image/log"
ALTER = """
for file in $(grep -l swappiness /var/lib/liveupdated/sessions/*/*/state.json); do
    sed -i s/42/43/ $file
done
"""
ALTERED = {
    "hoststate:sysctl": ("failed", "the saved sysctl state was altered"),
    "hoststate:link": ("carried", ""),
    "services:stander.service": ("carried", ""),
}


def furnish(vm: Machine) -> None:
    with tempfile.TemporaryDirectory() as folder:
        vm.put(file_system(Path(folder) / "image"), "/var/image")
    vm.run(BY_HAND)
    vm.put(HERE / "stander", "/usr/local/bin/stander", 0o755)
    vm.put(STANDER, "/etc/systemd/system/stander.service")
    vm.run("systemctl daemon-reload; systemctl enable --now stander")
    vm.put(vm.run(LOOK).stdout.encode(), BEFORE)


def assert_goes_on(vm: Machine) -> None:
    """All of it is as it was made, and what stands on it goes on."""
    assert vm.run(LOOK).stdout == vm.get(BEFORE).decode()
    lines = f"$(wc -l < {LOG})"
    vm.run(f"end=$(({lines} + 3)); until [ {lines} -ge $end ]; do sleep 0.2; done")
    numbers = list(map(int, vm.get(LOG).decode().split()))
    assert numbers == list(range(1, len(numbers) + 1))


def assert_planned(vm: Machine, rows: dict[str, Row]) -> None:
    """Nothing has to be said: where its files and its addresses are is seen."""
    reason = rows["services:stander.service"]["reason"]
    assert "1 TCP connection" in reason or "2 TCP connections" in reason, reason


def assert_returned(vm: Machine, session: dict[str, Any]) -> None:
    rows = {w["id"]: w for w in session["workloads"] if w["kind"] == "hoststate"}
    assert {name: rows[name]["outcome_reason"] for name in STATE} == dict.fromkeys(STATE, "")


def assert_fresh(vm: Machine) -> None:
    """What was damaged is not applied."""
    assert vm.run(["sysctl", "-n", "vm.swappiness"]).stdout == "60\n"


def file_system(path: Path) -> bytes:
    """A small ext4; the guest has no tool to make one."""
    command = ["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", str(path), "2M"]
    subprocess.run(command, check=True, capture_output=True)
    return path.read_bytes()
