# SPDX-License-Identifier: LGPL-2.1-or-later
"""PCI pass-through behind an emulated IOMMU: a NIC in the hands of DPDK, and a device of nobody's.

The lab's kernels have no driver for either, so a boot leaves both alone.
"""

import json

from tests.lab.qemu import Machine
from tests.vm.kinds import Row
from tests.vm.kinds.dpdk import HUGEPAGES, telemetry

NIC, SPARE = "0000:00:1a.0", "0000:00:1b.0"
QEMU_ARGS = [
    *("-device", "intel-iommu,intremap=off"),
    *("-netdev", "user,id=passed,restrict=on"),
    *("-device", "e1000,netdev=passed,romfile=,addr=0x1a"),
    *("-device", "edu,addr=0x1b"),
]
APPEND = ["intel_iommu=on", "iommu=pt"]

SERVICE = f"""\
[Service]
ExecStart=dpdk-testpmd -l 0-1 -m 16 --file-prefix=nic -a {NIC} --vdev=net_null0 \
-- --auto-start --total-num-mbufs=2048 --stats-period=600
CPUQuota=8%
"""
# The emulated IOMMU remaps no interrupts.
SET_UP = f"""
set -e
echo 'options vfio_iommu_type1 allow_unsafe_interrupts=1' > /etc/modprobe.d/lab.conf
modprobe vfio-pci
echo vfio-pci > /sys/bus/pci/devices/{NIC}/driver_override
echo {NIC} > /sys/bus/pci/drivers_probe
echo 1234 11e8 > /sys/bus/pci/drivers/vfio-pci/new_id
{HUGEPAGES}
systemctl daemon-reload
systemctl start testpmd-nic
"""
LOOK = f"""
cd /sys/bus/pci/devices
readlink {NIC}/driver {SPARE}/driver
cat {NIC}/driver_override {SPARE}/driver_override
"""
BOUND = "../../../bus/pci/drivers/vfio-pci\n" * 2 + "vfio-pci\n(null)\n"

PLANNED = {
    "hoststate:binding": "carried",
    f"devices:{NIC}": "restarted",
    f"devices:{SPARE}": "restarted",
    "dpdk:nic": "restarted",
}
OUTCOMES = PLANNED

REFUSAL = f"""
group=$(basename $(readlink /sys/bus/pci/devices/{SPARE}/iommu_group))
systemd-run --scope --unit=holder setsid -f bash -c "exec 9<>/dev/vfio/$group; sleep 1000" \
    < /dev/null > /dev/null 2>&1
until ls -l /proc/$(cat /sys/fs/cgroup/system.slice/holder.scope/cgroup.procs | head -1)/fd |
    grep -q /dev/vfio/; do sleep 0.2; done
"""
REFUSAL_WORDS = [SPARE, "nothing starts again"]
REFUSAL_UNDO = "systemctl stop holder.scope"

ALTER = """
for file in $(grep -l vfio-pci /var/lib/liveupdated/sessions/*/*/state.json); do
    sed -i s/vfio-pci/vfio_pci/ $file
done
"""
ALTERED = {
    "hoststate:binding": ("failed", "the saved binding state was altered"),
    f"devices:{NIC}": ("failed", "bound to no driver instead of vfio-pci"),
    f"devices:{SPARE}": ("failed", "bound to no driver instead of vfio-pci"),
}


def furnish(vm: Machine) -> None:
    vm.put(SERVICE.encode(), "/etc/systemd/system/testpmd-nic.service")
    vm.run(SET_UP)


def assert_goes_on(vm: Machine) -> None:
    """Both are bound as they were, and DPDK has the NIC as a port."""
    assert vm.run(LOOK).stdout == BOUND
    assert telemetry(vm, "nic", "/ethdev/info,0")["name"] == NIC


def assert_planned(vm: Machine, rows: dict[str, Row]) -> None:
    reason = rows[f"devices:{NIC}"]["reason"]
    assert "8086:100e, IOMMU group" in reason, reason
    assert "in testpmd-nic.service" in reason, reason
    assert "nobody has it open" in rows[f"devices:{SPARE}"]["reason"], rows
    assert NIC in rows["dpdk:nic"]["reason"], rows


def assert_returned(vm: Machine, session: Row) -> None:
    rows = {row["id"]: row["outcome_reason"] for row in session["workloads"]}
    assert rows[f"devices:{NIC}"] == "bound to vfio-pci; open again", json.dumps(rows)
    assert NIC in rows["dpdk:nic"], json.dumps(rows)
