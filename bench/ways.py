# SPDX-License-Identifier: LGPL-2.1-or-later
"""The ways to a fresh system, a function each: from the command until the services are back.

Each leads from a kernel to the same kernel, so that none has the quicker one.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from bench.load import Load
from tests.lab.errors import GuestGone, LabError
from tests.lab.qemu import Machine
from tests.vm.guest import JUMP_LIMIT_S, ctl, kernel_id, release, wait_finished

REGION_MIB = 1280
"""Memory for the pmem carrier."""

Ledger = Mapping[str, float]
"""Phases that the way itself has measured, in seconds."""


def _nothing(vm: Machine, load: Load) -> Ledger:
    return {}


@dataclass(frozen=True)
class Way:
    """`prepare` is before anything is measured, `finish` after."""

    name: str
    take: Callable[[Machine, Load], Ledger]
    prepare: Callable[[Machine, Load], Ledger] = _nothing
    finish: Callable[[Machine, Load], Ledger] = _nothing
    beside: tuple[str, ...] = ()
    """Phases that come on top of what the client sees."""
    carrier: str = ""
    """Where the memory goes; without one the services start anew, and empty."""
    keeps: bool = False
    """The services are the same as before."""
    boots_all: bool = True
    """A kernel and all of the userspace: there is somebody to ask about the boot."""


def reboot(vm: Machine, load: Load) -> Ledger:
    """By whatever the machine boots with."""
    leave(vm, "reboot")
    return {}


def soft_reboot(vm: Machine, load: Load) -> Ledger:
    before = _soft_reboots(vm)
    vm.start(["systemctl", "soft-reboot"])
    limit = time.monotonic() + JUMP_LIMIT_S
    while _soft_reboots(vm) in ("", before):
        if time.monotonic() > limit:
            raise LabError(f"no soft-reboot within {JUMP_LIMIT_S:.0f} s")
        time.sleep(0.5)
    vm.wait_running(timeout=JUMP_LIMIT_S)
    return {}


def _soft_reboots(vm: Machine) -> str:
    """How many systemd has made; empty while it does not say."""
    with suppress(GuestGone):
        return vm.run("systemctl show -P SoftRebootsCount", check=False).stdout.strip()
    return ""


def prepare_kexec(vm: Machine, load: Load) -> Ledger:
    """With kexec-tools, as an administrator would; nothing of ours takes part in this jump."""
    vm.run("systemctl mask --runtime --now liveupdated.service")
    load_kernel(vm)
    return {}


def kexec(vm: Machine, load: Load) -> Ledger:
    leave(vm, "kexec")
    return {}


def prepare_disk(vm: Machine, load: Load) -> Ledger:
    vm.run("liveupdatectl carrier remove", check=False)  # refused where none is set up
    return {}


def prepare_pmem(vm: Machine, load: Load) -> Ledger:
    """Where the machine's command line sets a region aside; of before nothing may be left."""
    vm.run("liveupdatectl carrier remove; wipefs --all /dev/pmem0")
    vm.run(f"liveupdatectl carrier set-up {REGION_MIB}M")
    return {}


def liveupdated(vm: Machine, load: Load) -> Ledger:
    """A live update with every service carried."""
    before = vm.boot_id()
    vm.start(f"liveupdatectl update --yes --accept-loss='*' --kernel {kernel_id(vm, release(vm))}")
    session = wait_finished(vm, before)
    if session["state"] != "confirmed":
        raise LabError(f"the update ended as {session['state']}: {session['notes']}")
    found = ctl(vm, "timeline last")["phases"]
    top = {phase["name"]: phase["duration_us"] for phase in found if not phase["workload"]}
    return {f"ledger/{name}": took / 1e6 for name, took in top.items()}


def load_kernel(vm: Machine, words: str = "") -> None:
    """The one that runs, with more words on its command line."""
    image = f"/boot/vmlinuz-{release(vm)}"
    line = f'"$(cat /proc/cmdline){words}"'
    vm.run(f"kexec --kexec-file-syscall --load {image} --command-line={line}")


def leave(vm: Machine, command: str) -> None:
    """A command of systemctl, and all of the boot after."""
    before = vm.boot_id()
    vm.start(["systemctl", command])
    vm.wait_boot(before, timeout=JUMP_LIMIT_S)
    vm.wait_running(timeout=JUMP_LIMIT_S)


FIRMWARE = Way("reboot-firmware", reboot)
"""In a machine of its own, which has such firmware."""
REBOOT = Way("reboot", reboot)
KEXEC = Way("kexec", kexec, prepare_kexec)
SOFT_REBOOT = Way("soft-reboot", soft_reboot, boots_all=False)
LIVEUPDATED = Way("liveupdated", liveupdated, prepare_disk, carrier="disk", keeps=True)
LIVEUPDATED_PMEM = Way("liveupdated", liveupdated, prepare_pmem, carrier="pmem", keeps=True)
