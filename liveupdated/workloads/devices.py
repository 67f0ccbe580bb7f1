# SPDX-License-Identifier: LGPL-2.1-or-later
"""PCI pass-through: devices that VFIO hands to user space, each with its IOMMU group and its owner.

Nothing of a device is carried: the kernel stops its DMA before the jump and the IOMMU's tables go
with the kernel.  So what becomes of it is what becomes of its owner, the process that has it open.
The binding to its driver is host state (`liveupdated.hoststate.binding`); here it is looked at
again, and at who has the device open, once both are back.
"""

import os
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from liveupdated import cgroup, dpdk, pci
from liveupdated.carry import declared
from liveupdated.errors import LiveUpdateError
from liveupdated.qemu import cmdline, files, guest, process, qmp
from liveupdated.session import Json, Outcome, Verdict, Workload
from liveupdated.workloads import Marker, Result

if TYPE_CHECKING:
    from liveupdated.host import Host

KIND = "devices"
OPEN_LIMIT_S = 60.0
"""For its owner to open it again, once that runs."""
POLL_S = 0.2
WAY_OUT = '(way out: end it, or a rule with carry = "no" for it or for the device)'


@dataclass(frozen=True)
class DeviceRule:
    """What `workloads.d` can say about a device that is passed through."""

    device: str
    """Its address (`0000:03:00.0`), or a pattern with `*` and `?`."""
    carry: Literal["no"]
    """Nothing of it can be carried: this says that it may start afresh, with its owner."""
    source: str = ""


RULE = DeviceRule


@dataclass(frozen=True)
class Owner:
    """The process that has a device open."""

    pid: int
    name: str
    """Its program, and the unit it runs in."""
    unit: str
    names: tuple[str, ...]
    """By which a rule may mean it."""
    is_qemu: bool
    starts_again: bool
    """Though it is no service: a DPDK application."""


# --- find ---


def find(host: "Host") -> Iterable[Workload]:
    """Every device that is passed through, whoever has it open; devices in VFIO's hands alone."""
    owners = pci.owners()
    applications = {application.pid for application in dpdk.applications()} if owners else set()
    for address in pci.addresses():
        if pci.passed_through(address):
            owner = _owner(owners[address], applications) if address in owners else None
            yield _judged(host, address, owner)


def _owner(pid: int, applications: Collection[int]) -> Owner:
    argv: list[str] = []
    try:
        program = os.path.basename(process.program(pid))
        unit = _unit(cgroup.of_process(pid))
        argv = cmdline.of_process(pid)
    except (OSError, StopIteration):
        return Owner(pid, f"process {pid}", "", (), is_qemu=False, starts_again=False)
    is_qemu = program.startswith(process.PROGRAMS)
    guest = cmdline.guest_name(argv) if is_qemu else ""
    where = f"in {unit}" if unit else "in no service"
    name = f"{program} (process {pid}, {where})"
    names = tuple(filter(None, (unit, guest)))
    return Owner(pid, name, unit, names, is_qemu, bool(unit) or pid in applications)


def _unit(control_group: str) -> str:
    """The system's own service that it runs in; nothing for a scope, which nobody starts again."""
    parts = control_group.split("/")
    return next((part for part in parts if part.endswith(".service")), "")


def _judged(host: "Host", address: str, owner: Owner | None) -> Workload:
    facts: dict[str, Json] = {"driver": pci.driver(address), "id": pci.identity(address)}
    workload = Workload(f"{KIND}:{address}", KIND, address, Verdict.RESTARTED, "", facts=facts)
    workload.needs = [f"device:{address}"]
    place = f"{address} ({facts['id']}, IOMMU group {pci.group(address) or 'none'})"
    if owner is None:
        workload.reason = (
            f"{place} is bound to {facts['driver']} and nobody has it open: "
            "only its binding comes back"
        )
        return workload
    facts["unit"] = owner.unit
    workload.needs += [f"unit:{owner.unit}"] if owner.unit else []
    held = f"{place} is open in {owner.name}"
    rule = host.rule(DeviceRule, address)
    said, workload.source = ("no", rule.source) if rule else _owners_rule(host, owner)
    if said == "no":
        workload.reason = f"{held}: reset, and its owner starts afresh, as {workload.source} says"
        return workload
    why = _obstacle(owner, said)
    if why:
        workload.verdict = Verdict.BLOCKS
        workload.reason = f"{held}, {why} {WAY_OUT}"
    else:
        again = "whose guest is suspended" if owner.is_qemu else "which starts afresh"
        workload.reason = f"{held}: reset, and opened again by its owner, {again}"
    return workload


def _owners_rule(host: "Host", owner: Owner) -> tuple[str, str]:
    """What the last rule that names the owner says about carrying it, and where; of any kind."""
    if how := declared(host).get(owner.unit):
        return ("", "") if how.optional else ("memory", how.source)
    rule = host.any_rule(owner.names)
    return getattr(rule, "carry", ""), rule.source if rule else ""


def _obstacle(owner: Owner, said: str) -> str:
    """Why the owner does not just start afresh, or nothing."""
    lost = "and neither its DMA nor its state can be carried into another kernel"
    if said:
        return f"which is to be carried, {lost}"
    if owner.is_qemu and _is_suspended(owner.pid):
        return ""
    if owner.is_qemu:
        return f"whose guest would be carried, {lost} (that of a guest suspended to RAM need not)"
    if not owner.starts_again:
        return f"which nothing starts again, {lost}"
    return ""


def _is_suspended(pid: int) -> bool:
    """Whether QEMU carries the guest in the mode cpr-reboot, with its devices (`qemu.guest`)."""
    try:
        argv = cmdline.of_process(pid)
        sockets = [files.as_seen_by(pid, path) for path in cmdline.qmp_sockets(argv)]
        with qmp.first_free(sockets, pid) as monitor:
            return guest.suspended(monitor)
    except (LiveUpdateError, OSError):
        return False


# --- save: there is nothing to save ---


def hold_files(workload: Workload) -> dict[str, str]:
    return {}


def save(workload: Workload, artifacts: Path, mark: Marker) -> None:
    """Its binding is saved as host state; the device itself is reset by the kernel."""


def commit(workload: Workload) -> None:
    """The kernel stops its DMA in the shutdown (pci_device_shutdown() of its pci-driver.c)."""


def resume(workload: Workload, artifacts: Path) -> None:
    """Nothing was done to it."""


# --- restore ---


def boot_files(workload: Workload, artifacts: Path) -> dict[str, str]:
    return {}


def prepare(workload: Workload, artifacts: Path) -> None:
    """The binding is host state."""


def restore(workload: Workload, artifacts: Path, mark: Marker) -> Result:
    """Look whether it is bound as it was, and open again where its owner has come back."""
    wanted, found = workload.facts["driver"], pci.driver(workload.name)
    if found != wanted:
        what = f"bound to {found}" if found else "bound to no driver"
        return Result(Outcome.FAILED, f"it is {what} instead of {wanted}")
    if "unit" not in workload.facts:
        return Result(Outcome.RESTARTED, f"bound to {wanted}")
    if not workload.facts["unit"]:
        return Result(Outcome.RESTARTED, f"bound to {wanted}; its owner is not ours to start")
    return Result(Outcome.RESTARTED, f"bound to {wanted}; {_opened(workload.name)}")


def _opened(address: str) -> str:
    end = time.monotonic() + OPEN_LIMIT_S
    while time.monotonic() < end:
        if pci.is_open(address):
            return "open again"
        time.sleep(POLL_S)
    return f"nobody has opened it again in {OPEN_LIMIT_S:.0f} s"


def restart(workload: Workload) -> Result:
    """The same: nothing of it is memory."""
    return restore(workload, Path(), lambda name: None)


def settle() -> None:
    """Nothing was held."""
