# SPDX-License-Identifier: LGPL-2.1-or-later
"""PCI devices in a fabricated sysfs: what is bound, what is open, and how it is put back."""

import json
from pathlib import Path

import pytest

from liveupdated import cgroup, dpdk, pci
from liveupdated.errors import LiveUpdateError
from liveupdated.host import Host
from liveupdated.hoststate import binding
from liveupdated.hoststate.category import differing
from liveupdated.qemu import cmdline, process
from liveupdated.session import Outcome, Verdict, Workload
from liveupdated.workloads import devices

NIC, PORT = "0000:03:00.0", "0000:03:10.0"


class Sysfs:
    """A machine with PCI devices, on which a write to `drivers_probe` does nothing."""

    def __init__(self, root: Path) -> None:
        self.sys, self.proc = root / "sys", root / "proc"
        for name in ("vfio-pci", "igb"):
            (self.sys / "bus/pci/drivers" / name).mkdir(parents=True)
        self.proc.mkdir()

    def add(self, address: str, driver: str = "", override: str = "(null)") -> Path:
        folder = self.sys / "bus/pci/devices" / address
        folder.mkdir(parents=True)
        for name, text in {"vendor": "0x8086", "device": "0x10c9", "enable": "0"}.items():
            (folder / name).write_text(f"{text}\n")
        (folder / "driver_override").write_text(f"{override}\n")
        group = self.sys / "kernel/iommu_groups" / address[5:7]
        (group / "devices" / address).mkdir(parents=True)
        (folder / "iommu_group").symlink_to(group)
        if driver:
            (folder / "driver").symlink_to(self.sys / "bus/pci/drivers" / driver)
        if driver == "vfio-pci":
            (folder / "vfio-dev").mkdir()
        return folder

    def open(self, pid: int, *targets: str) -> None:
        folder = self.proc / str(pid) / "fd"
        folder.mkdir(parents=True)
        for number, target in enumerate(targets):
            (folder / str(number)).symlink_to(target)


@pytest.fixture
def sysfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sysfs:
    made = Sysfs(tmp_path)
    monkeypatch.setattr(pci, "SYS", made.sys)
    monkeypatch.setattr(pci, "PROC", made.proc)
    return made


# --- who has it open ---


def test_a_device_is_found_open_by_its_group_or_by_itself(sysfs: Sysfs) -> None:
    sysfs.add(NIC, "vfio-pci")
    sysfs.add(PORT, "igb")  # in the same group, but not handed to anybody
    sysfs.open(7, "/dev/vfio/vfio", "/dev/vfio/03", "socket:[1]")
    assert pci.opened_by(7) == [NIC]
    (sysfs.sys / "class/vfio-dev/vfio0").mkdir(parents=True)
    (sysfs.sys / "class/vfio-dev/vfio0/device").symlink_to(sysfs.sys / f"bus/pci/devices/{PORT}")
    sysfs.open(8, "/dev/vfio/devices/vfio0")
    assert pci.owners() == {NIC: 7, PORT: 8}
    assert pci.opened_by(9) == []


def test_what_drives_the_network_adapters_is_found_within_virtio_too(sysfs: Sysfs) -> None:
    for address, network_class, driver in (
        (NIC, "0x020000", "igb"),
        (PORT, "0x020000", "vfio-pci"),  # somebody else's
        ("0000:03:11.0", "0x020000", "virtio-pci"),
        ("0000:03:12.0", "0x030000", "bochs"),
    ):
        (sysfs.sys / "bus/pci/drivers" / driver).mkdir(exist_ok=True)
        (sysfs.add(address, driver) / "class").write_text(f"{network_class}\n")
    within = sysfs.sys / "bus/pci/devices/0000:03:11.0/virtio1/driver"
    within.mkdir(parents=True)
    for folder, module in ((within, "virtio_net"), (sysfs.sys / "bus/pci/drivers/igb", "igb")):
        (folder / "module").symlink_to(f"/sys/module/{module}")
    assert pci.network_modules() == ["igb", "virtio_net"]


# --- bindings as host state ---


def test_a_binding_by_hand_differs_from_what_the_boot_has_set(sysfs: Sysfs) -> None:
    folder = sysfs.add(NIC, "igb")
    sysfs.add(PORT)
    before = binding.snapshot()
    (folder / "driver").unlink()
    (folder / "driver").symlink_to(sysfs.sys / "bus/pci/drivers/vfio-pci")
    (folder / "driver_override").write_text("vfio-pci\n")
    changed = differing(binding.CATEGORY, before, binding.snapshot())
    assert {key: json.loads(value) for key, value in changed.items()} == {
        NIC: {"id": "8086:10c9", "driver": "vfio-pci", "override": "vfio-pci"}
    }
    assert binding.provides(NIC, "") == binding.provides(NIC + binding.VFS, "") == [f"device:{NIC}"]


def test_a_device_without_an_override_is_bound_by_one_for_the_time(sysfs: Sysfs) -> None:
    folder = sysfs.add(NIC)
    (sysfs.sys / "bus/pci/drivers_probe").touch()
    value = json.dumps({"id": "8086:10c9", "driver": "vfio-pci", "override": ""})
    binding.put(NIC, value)
    assert (sysfs.sys / "bus/pci/drivers_probe").read_text() == f"{NIC}\n"
    assert (folder / "driver_override").read_text() == "\n"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": "1af4:1000"}, "another device"),
        ({"driver": "nowhere"}, "no driver nowhere"),
    ],
)
def test_what_is_not_there_any_more_is_not_bound(
    sysfs: Sysfs, change: dict[str, str], words: str
) -> None:
    folder = sysfs.add(NIC)
    setting = {"id": "8086:10c9", "driver": "vfio-pci", "override": ""} | change
    with pytest.raises(LiveUpdateError, match=words):
        binding.put(NIC, json.dumps(setting))
    assert (folder / "driver_override").read_text() == "(null)\n"
    with pytest.raises(LiveUpdateError, match="no device"):
        binding.put(PORT, json.dumps(setting))


def test_virtual_functions_come_back_with_what_ip_link_knows_of_them(
    sysfs: Sysfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = sysfs.add(NIC, "igb")
    for name, text in {"totalvfs": "7", "numvfs": "2", "drivers_autoprobe": "0"}.items():
        (folder / f"sriov_{name}").write_text(f"{text}\n")
    (folder / "net/eth1").mkdir(parents=True)
    shown = [
        {
            "vf": 0,
            "address": "02:00:00:00:00:01",
            "vlan_list": [{"vlan": 7, "qos": 2}],
            "rate": {"max_tx": 100, "min_tx": 0},
            "spoofchk": False,
            "link_state": "auto",
        },
        {"vf": 1, "address": "00:00:00:00:00:00", "vlan_list": [{}], "trust": True},
    ]
    ran: list[list[str]] = []

    def run(command: list[str]) -> str:
        ran.append(command)
        return json.dumps([{"vfinfo_list": shown}])

    monkeypatch.setattr(binding, "run", run)
    value = binding.snapshot()[NIC + binding.VFS]
    (folder / "sriov_numvfs").write_text("0\n")
    (folder / "sriov_drivers_autoprobe").write_text("1\n")
    ran.clear()
    binding.put(NIC + binding.VFS, value)
    assert (folder / "sriov_numvfs").read_text() == "2\n"
    assert (folder / "sriov_drivers_autoprobe").read_text() == "0\n"
    first, second = (" ".join(command) for command in ran)
    assert first == (
        "ip link set dev eth1 vf 0 mac 02:00:00:00:00:01 spoofchk off state auto "
        "vlan 7 qos 2 max_tx_rate 100"
    )
    assert second == "ip link set dev eth1 vf 1 trust on"


# --- what is passed through ---


def found(monkeypatch: pytest.MonkeyPatch, program: str, group: str, *rules: object) -> Workload:
    monkeypatch.setattr(process, "program", lambda pid: f"/usr/bin/{program}")
    monkeypatch.setattr(cgroup, "of_process", lambda pid: group)
    monkeypatch.setattr(cmdline, "of_process", lambda pid: [program, "-name", "vm1"])
    monkeypatch.setattr(dpdk, "applications", list)
    monkeypatch.setattr(devices, "declared", lambda host: {})
    [workload] = devices.find(Host(list(rules)))  # type: ignore[arg-type]
    return workload


def test_a_device_of_nobody_is_only_bound_again(
    sysfs: Sysfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    sysfs.add(NIC, "vfio-pci")
    sysfs.add(PORT, "igb")
    workload = found(monkeypatch, "", "")
    assert (workload.id, workload.verdict) == (f"devices:{NIC}", Verdict.RESTARTED)
    assert "(8086:10c9, IOMMU group 03)" in workload.reason
    assert "nobody has it open" in workload.reason
    result = devices.restore(workload, sysfs.sys, lambda name: None)
    assert result.outcome is Outcome.RESTARTED
    (pci.folder(NIC) / "driver").unlink()
    result = devices.restore(workload, sysfs.sys, lambda name: None)
    assert result.outcome is Outcome.FAILED
    assert result.reason == "it is bound to no driver instead of vfio-pci"


QEMU = "qemu-system-x86_64"


@pytest.mark.parametrize(
    "case",
    [
        ("x", "/system.slice/x.service", Verdict.RESTARTED, "opened again by its owner"),
        ("x", "/user.slice/session-1.scope", Verdict.BLOCKS, "nothing starts again"),
        (QEMU, "/system.slice/v.service", Verdict.BLOCKS, "neither its DMA"),
    ],
)
@pytest.mark.parametrize("rules", [[], [devices.DeviceRule(NIC, "no", "file")]])
def test_the_owner_decides_unless_a_rule_does(
    sysfs: Sysfs,
    monkeypatch: pytest.MonkeyPatch,
    rules: list[object],
    case: tuple[str, str, Verdict, str],
) -> None:
    program, group, verdict, words = case
    sysfs.add(NIC, "vfio-pci")
    sysfs.open(7, "/dev/vfio/03")
    workload = found(monkeypatch, program, group, *rules)
    assert workload.verdict is (Verdict.RESTARTED if rules else verdict)
    assert ("as file says" if rules else words) in workload.reason
    assert NIC in workload.reason


def test_the_device_of_a_suspended_guest_does_not_block(
    sysfs: Sysfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    sysfs.add(NIC, "vfio-pci")
    sysfs.open(7, "/dev/vfio/03")
    monkeypatch.setattr(devices, "_is_suspended", lambda pid: True)
    workload = found(monkeypatch, QEMU, "/system.slice/v.service")
    assert workload.verdict is Verdict.RESTARTED
    assert "whose guest is suspended" in workload.reason
