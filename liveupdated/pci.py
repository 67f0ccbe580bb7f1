# SPDX-License-Identifier: LGPL-2.1-or-later
"""PCI devices as the kernel shows them: who drives them, and which process has them open.

Documentation/ABI/testing/sysfs-bus-pci and Documentation/driver-api/vfio.rst of the kernel.
Standard library only: used on the restore path.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

SYS = Path("/sys")
PROC = Path("/proc")
BUS = "bus/pci"
"""Below SYS."""

_VFIO_DEVICE = re.compile(r"/dev/vfio/devices/(vfio\d+)")
_VFIO_GROUP = re.compile(r"/dev/vfio/(?:noiommu-)?(\d+)")
_UIO = re.compile(r"/dev/(uio\d+)")


def folder(address: str) -> Path:
    """The device's folder in sysfs."""
    return SYS / BUS / "devices" / address


def addresses() -> list[str]:
    """Every device of this machine; none where there is no PCI."""
    devices = SYS / BUS / "devices"
    return sorted(os.listdir(devices)) if devices.is_dir() else []


def driver(address: str) -> str:
    """The driver that is bound to it, or nothing."""
    return _name_of_link(folder(address) / "driver")


def group(address: str) -> str:
    """Its IOMMU group, or nothing."""
    return _name_of_link(folder(address) / "iommu_group")


VIRTUAL_ADAPTERS = {"virtio_net", "vmxnet3", "ena", "gve"}
"""Modules of network adapters that exist in virtual machines only, and are there at once."""


def network_modules() -> list[str]:
    """The modules that drive network adapters here: devices of PCI's class 02 and, as virtio has
    it, the device within that."""
    found = set()
    for address in addresses():
        if (folder(address) / "class").read_text().startswith("0x02") and not passed_through(
            address
        ):
            devices = [folder(address), *folder(address).glob("*/")]
            found |= {_name_of_link(device / "driver/module") for device in devices}
    return sorted(found - {""})


def passed_through(address: str) -> bool:
    """Whether its driver hands it to user space through VFIO: vfio-pci, or one of its variants."""
    return (folder(address) / "vfio-dev").is_dir()


def is_open(address: str) -> bool:
    """Whether somebody has it open through VFIO, which enables it for as long: `owners` tells who,
    but takes the right to look into other processes (vfio_pci_core_enable() of the kernel)."""
    return (folder(address) / "enable").read_text().strip() != "0"


def identity(address: str) -> str:
    """What it is, as lspci(8) prints it: vendor and device."""
    return ":".join(_hex(folder(address) / name) for name in ("vendor", "device"))


def _hex(file: Path) -> str:
    return file.read_text().strip().removeprefix("0x")


def _name_of_link(link: Path) -> str:
    try:
        return os.path.basename(os.readlink(link))
    except OSError:
        return ""


def opened_by(pid: int) -> list[str]:
    """The devices that the process has open, through VFIO (by group or one by one) or UIO."""
    found: set[str] = set()
    for target in _open_files(pid):
        if match := _VFIO_DEVICE.fullmatch(target):
            found.add(_name_of_link(SYS / "class/vfio-dev" / match[1] / "device"))
        elif match := _VFIO_GROUP.fullmatch(target):
            members = SYS / "kernel/iommu_groups" / match[1] / "devices"
            found |= {member for member in _list(members) if passed_through(member)}
        elif match := _UIO.fullmatch(target):
            found.add(_name_of_link(SYS / "class/uio" / match[1] / "device"))
    return sorted(found - {""})


def owners() -> dict[str, int]:
    """Every device that a process has open in one of these ways, with that process."""
    found: dict[str, int] = {}
    for entry in _list(PROC):
        if entry.isdigit():
            for address in opened_by(int(entry)):
                found.setdefault(address, int(entry))
    return found


def _open_files(pid: int) -> Iterator[str]:
    for name in _list(PROC / str(pid) / "fd"):
        try:
            yield os.readlink(PROC / str(pid) / "fd" / name)
        except OSError:  # closed meanwhile
            continue


def _list(place: Path) -> list[str]:
    """Its entries; none when it is gone, as a process may be at any time."""
    try:
        return sorted(os.listdir(place))
    except OSError:
        return []
