# SPDX-License-Identifier: LGPL-2.1-or-later
"""CRIU in a script, and a kexec: what people write who have nothing else."""

from bench.load import HOLDER, Load
from bench.ways import Ledger, Way, leave, prepare_kexec
from tests.lab.qemu import Machine
from tests.vm.guest import JUMP_LIMIT_S

STATE = "/var/lib/criu-script"


def services_by_hand(vm: Machine, load: Load) -> Ledger:
    """The same programs, without units to start them, the journal, and pids that a boot takes."""
    prepare_kexec(vm, load)
    vm.run(f"rm -rf {STATE}; systemctl disable --now {load.units}")
    vm.run("echo 20000 > /proc/sys/kernel/ns_last_pid")
    null = "-p StandardInput=null -p StandardOutput=null -p StandardError=null"
    for port in load.ports:
        vm.run(f"systemd-run --collect {null} {HOLDER} {port}")
    return {}


def criu_script(vm: Machine, load: Load) -> Ledger:
    vm.run(["/usr/local/bin/criu-script", "save"], timeout=JUMP_LIMIT_S)
    leave(vm, "kexec")
    return {}


def services_again(vm: Machine, load: Load) -> Ledger:
    vm.run(["pkill", "-f", HOLDER])
    vm.run(f"systemctl enable --now {load.units}")
    return {}


CRIU_SCRIPT = Way(
    name="criu-script",
    take=criu_script,
    prepare=services_by_hand,
    finish=services_again,
    carrier="disk",
    keeps=True,
)
