# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which driver each PCI device is bound to, `driver_override`, and SR-IOV virtual functions.

Two things a device: its binding, by its address, and where it has virtual functions how many, by
its address and `VFS`.  Values are JSON.  Documentation/ABI/testing/sysfs-bus-pci of the kernel.
"""

import contextlib
import json
import os
from pathlib import Path

from liveupdated import pci
from liveupdated.errors import ServiceError
from liveupdated.hoststate.category import Category, Snapshot, run
from liveupdated.session import Json

VFS = " virtual functions"
_NO_OVERRIDE = "(null)"

# What `ip link set dev PF vf NUMBER` takes, by the name that `ip -json link show` has for it
# (ip-link(8); print_vfinfo() of iproute2's ipaddress.c).
VF_WORDS = {"address": "mac", "spoofchk": "spoofchk", "trust": "trust", "link_state": "state"}
VF_VLAN = {"qos": "qos", "protocol": "proto"}
VF_RATES = {"min_tx": "min_tx_rate", "max_tx": "max_tx_rate"}


def snapshot() -> Snapshot:
    found: Snapshot = {}
    for address in pci.addresses():
        with contextlib.suppress(FileNotFoundError):  # unplugged meanwhile
            found[address] = json.dumps(_binding(address), sort_keys=True)
            if (pci.folder(address) / "sriov_totalvfs").exists():
                found[address + VFS] = json.dumps(_functions(address), sort_keys=True)
    return found


def _binding(address: str) -> dict[str, Json]:
    override = _read(address, "driver_override")
    return {
        "id": pci.identity(address),
        "driver": pci.driver(address),
        "override": "" if override == _NO_OVERRIDE else override,
    }


def _functions(address: str) -> dict[str, Json]:
    number = int(_read(address, "sriov_numvfs"))
    return {
        "id": pci.identity(address),
        "number": number,
        "autoprobe": _read(address, "sriov_drivers_autoprobe"),
        "settings": _settings(address) if number else [],
    }


def _read(address: str, name: str) -> str:
    return (pci.folder(address) / name).read_text().strip()


def _settings(address: str) -> list[list[str]]:
    """For each virtual function of a network card: what `ip link set` has to be told.

    A MAC of zeros is none: the driver makes one up.
    """
    link = _link(address)
    if not link:
        return []
    shown = json.loads(run(["ip", "-details", "-json", "link", "show", "dev", link]))[0]
    return [_words(vf) for vf in shown.get("vfinfo_list", ())]


def _words(vf: dict[str, Json]) -> list[str]:
    words: list[str] = []
    for name, word in VF_WORDS.items():
        value = vf.get(name)
        if value is None or not str(value).strip("0:"):
            continue
        words += [word, ("on" if value else "off") if isinstance(value, bool) else str(value)]
    for vlan in vf.get("vlan_list") or [vf]:
        if "vlan" in vlan:
            words += ["vlan", str(vlan["vlan"])]
            for name, word in VF_VLAN.items():
                words += [word, str(vlan[name])] if name in vlan else []
    for name, word in VF_RATES.items():
        if rate := vf.get("rate", {}).get(name):
            words += [word, str(rate)]
    return words


def _link(address: str) -> str:
    """The network link of the device, which must not be in another network namespace."""
    folder = pci.folder(address) / "net"
    links = sorted(os.listdir(folder)) if folder.is_dir() else []
    return links[0] if links else ""


def put(key: str, value: str) -> None:
    address = key.removesuffix(VFS)
    setting = json.loads(value)
    if not pci.folder(address).exists():
        raise ServiceError(f"there is no device {address}")
    if (found := pci.identity(address)) != setting["id"]:
        raise ServiceError(f"{address} is another device", f"{found} instead of {setting['id']}")
    if key == address:
        _bind(address, setting["driver"], setting["override"])
    else:
        _make_functions(address, setting)


def _bind(address: str, driver: str, override: str) -> None:
    """An override of its own for the time of the bind: a driver that was told of the device by
    `new_id` would not take it otherwise, and that cannot be read back."""
    folder, bus = pci.folder(address), pci.SYS / pci.BUS
    if driver and not (bus / "drivers" / driver).is_dir():
        raise ServiceError(f"there is no driver {driver}", "its module is not loaded")
    if pci.driver(address) != driver:
        if pci.driver(address):
            _write(folder / "driver/unbind", address)
        if driver:
            _write(folder / "driver_override", driver)
            _write(bus / "drivers_probe", address)
    _write(folder / "driver_override", override)


def _make_functions(address: str, setting: dict[str, Json]) -> None:
    folder = pci.folder(address)
    if (have := int(_read(address, "sriov_numvfs"))) != setting["number"]:
        _write(folder / "sriov_drivers_autoprobe", setting["autoprobe"])
        if have:  # the kernel goes from one number to another by way of none
            _write(folder / "sriov_numvfs", "0")
        _write(folder / "sriov_numvfs", str(setting["number"]))
    else:
        _write(folder / "sriov_drivers_autoprobe", setting["autoprobe"])
    link = _link(address)
    for number, words in enumerate(setting["settings"]):
        if not link:
            raise ServiceError(f"{address} has no network link", "its virtual functions need it")
        if words:
            run(["ip", "link", "set", "dev", link, "vf", str(number), *words])


def _write(file: Path, text: str) -> None:
    """The kernel takes an empty write for none: a newline is how `driver_override` is cleared."""
    file.write_text(text + "\n")


def provides(key: str, value: str) -> list[str]:
    return [f"device:{key.removesuffix(VFS)}"]


CATEGORY = Category(
    name="binding",
    title="PCI devices and their drivers",
    snapshot=snapshot,
    put=put,
    provides=provides,
    needs=("module",),
    after=("systemd-modules-load.service", "systemd-udev-trigger.service"),
)
