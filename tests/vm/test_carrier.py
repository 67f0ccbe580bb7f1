# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is saved travels in memory that neither kernel touches, the stop before is quick, and the
initrd is lean."""

import re
from collections.abc import Callable
from pathlib import Path

from tests.lab.qemu import Machine
from tests.vm.guest import (
    JUMP_LIMIT_S,
    REDIS_DROPIN,
    ctl,
    kernel_id,
    outcomes,
    redis,
    refused,
    release,
    wait_finished,
)

REGION = "memmap=1G!4G"
MOUNT = "/var/lib/liveupdated/pmem"
REDIS = "redis-server.service"


def test_images_travel_in_memory_and_the_stop_is_quick(
    boot: Callable[..., Machine], installed: Path
) -> None:
    vm = boot(disk=installed, memory=4096, append=REGION)
    vm.put(REDIS_DROPIN, f"/etc/systemd/system/{REDIS}.d/carry.conf")
    vm.run("systemctl daemon-reload; systemctl restart redis-server; redis-cli config set save ''")
    vm.run("for i in $(seq 1000); do echo SET key$i value$i; done | redis-cli --pipe")
    before = redis(vm)
    nothing_is_formatted_that_may_be_of_use(vm)
    set_up(vm)
    full_kib = a_lean_initrd_is_wanted(vm)

    kernel = kernel_id(vm, "7.3")
    plan = ctl(vm, f"plan --kernel {kernel}")
    assert plan["carrier"] == "pmem", plan["carrier_reason"]
    first = vm.boot_id()
    vm.run(f"echo stays > {MOUNT}/ram")
    never_ends(vm)
    vm.start(["liveupdatectl", "update", "--yes", "--kernel", kernel, "--stop", "quick"])
    session = wait_finished(vm, first)
    assert session["state"] == "confirmed", session
    assert session["carrier"] == "pmem", session["notes"]
    assert outcomes(session)[REDIS] == ("carried", "carried")
    file_systems_were_clean(vm)
    assert 0 < initrd_kib(vm) < full_kib
    after = redis(vm)
    assert release(vm).startswith("7.3")
    assert (after["run_id"], after["keys"]) == (before["run_id"], "1000")
    # Mounted again by the restore, with what was there, and the images are gone.
    assert vm.run(f"ls {MOUNT}").stdout.split() == ["lost+found", "ram"]
    assert vm.run(f"cat {MOUNT}/ram").stdout == "stays\n"

    vm.run("liveupdatectl carrier remove")
    plan = ctl(vm, f"plan --kernel {kernel}")
    assert (plan["carrier"], plan["carrier_reason"]) == (
        "disk",
        f"not pmem: nothing is mounted at {MOUNT}",
    )


def nothing_is_formatted_that_may_be_of_use(vm: Machine) -> None:
    vm.run("mke2fs -q -F -t ext4 -L precious /dev/pmem0")
    refused(vm, "liveupdatectl carrier set-up 1G", "/dev/pmem0 holds ext4", "wipefs")
    assert ctl(vm, "carrier")["cmdline_add"] == []
    vm.run("wipefs --all /dev/pmem0")


def set_up(vm: Machine) -> None:
    found = ctl(vm, "carrier set-up 1G")
    assert (found["carrier"], found["cmdline_add"]) == ("pmem", [REGION]), found
    assert [each["holds"] for each in found["devices"]] == ["liveupdated"]
    assert vm.run(f"stat -c '%a %u' {MOUNT}").stdout == "700 0\n"
    again = ctl(vm, "carrier set-up 1G", timeout=JUMP_LIMIT_S)
    assert again["free_bytes"] == found["free_bytes"]


def a_lean_initrd_is_wanted(vm: Machine) -> int:
    """There is a full one, of so many KiB."""
    vm.run("cp -p /var/lib/lab/boot/initrd.img-7.3* /boot/")
    vm.put(b"[kernels]\nlean_initrd = true\n", "/etc/liveupdated/conf.d/50-lean.toml")
    vm.run("systemctl try-reload-or-restart liveupdated")
    return int(vm.run("du -k --apparent-size /boot/initrd.img-7.3*").stdout.split()[0])


def initrd_kib(vm: Machine) -> int:
    """Of the one that this boot had, by the kernel's log; 0 for none."""
    freed = re.search(r"Freeing initrd memory: (\d+)K", vm.run("dmesg").stdout)
    return int(freed[1]) if freed else 0


def never_ends(vm: Machine) -> None:
    """A service that an orderly stop would wait for as long as systemd's limits say."""
    vm.run(
        "systemd-run --unit=stubborn -p SendSIGKILL=no "
        "bash -c 'trap \"\" TERM; while :; do sleep 1; done'"
    )


def file_systems_were_clean(vm: Machine) -> None:
    """As ext4 says at mount: of the root file system, which has no journal, and of the region's."""
    said = vm.run("dmesg | grep EXT4-fs").stdout
    assert "(nvme0n1)" in said and "(pmem0)" in said
    assert "unchecked" not in said and "recovery" not in said and "orphan" not in said, said
