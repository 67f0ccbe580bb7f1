# SPDX-License-Identifier: LGPL-2.1-or-later
"""The ways from one kernel to the next, each as whoever runs a host would go it by hand."""

import time
from collections.abc import Mapping
from pathlib import Path

from bench.client import Client
from tests.lab.errors import LabError
from tests.lab.qemu import Machine
from tests.vm.guest import ctl, wait_finished

HERE = Path(__file__).parent
PORTS = range(7000, 7050)
LIMIT_S = 900.0
SILENT_S = 2.0
"""No way is quicker."""
KERNEL = "6.12"

UNIT = b"""\
[Service]
Type=notify
ExecStart=/usr/bin/python3 -I -S /usr/local/bin/answer %i
StandardOutput=null
StandardError=null
[Install]
WantedBy=multi-user.target
"""
RULE = b'[[workload]]\nunit = "answer@*.service"\ncarry = "memory"\n'
BY_SCRIPT = "/var/lib/by-script"
RESTORE = f"""\
[Unit]
ConditionPathExists={BY_SCRIPT}/inventory.img
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/criu restore --images-dir {BY_SCRIPT} --restore-detached --log-file restore.log
ExecStartPost=/bin/rm -r {BY_SCRIPT}
[Install]
WantedBy=multi-user.target
""".encode()
LOAD = f"kexec -s --load /boot/vmlinuz-{KERNEL}* --reuse-cmdline"


def furnish(vm: Machine) -> None:
    """The service in all numbers that are wanted, and no other workload that is saved."""
    vm.put(HERE / "answer", "/usr/local/bin/answer", 0o755)
    vm.put(HERE / "floor-init", "/usr/local/sbin/floor-init", 0o755)
    vm.put(UNIT, "/etc/systemd/system/answer@.service")
    vm.put(RESTORE, "/etc/systemd/system/by-script.service")
    vm.put(RULE, "/etc/liveupdated/workloads.d/answer.toml")
    vm.run("systemctl daemon-reload; systemctl enable by-script")
    vm.run("systemctl disable --now redis-server memcached", timeout=LIMIT_S)


def run_services(vm: Machine, number: int) -> None:
    """So many of them, no more."""
    vm.run("systemctl disable --now 'answer@*'", timeout=LIMIT_S, check=False)
    units = " ".join(f"answer@{port}" for port in PORTS[:number])
    vm.run(f"systemctl enable --now {units}", timeout=LIMIT_S)


def without_us(vm: Machine) -> None:
    """The machine as if liveupdated was not there, until its next boot."""
    vm.run("systemctl stop liveupdated; systemctl mask --runtime liveupdated")


def reboot(vm: Machine, client: Client) -> float:
    without_us(vm)
    return _leave(vm, client, "systemctl reboot")


def kexec(vm: Machine, client: Client) -> float:
    without_us(vm)
    vm.run(LOAD)
    return _leave(vm, client, "systemctl kexec")


def soft_reboot(vm: Machine, client: Client) -> float:
    without_us(vm)
    return _leave(vm, client, "systemctl soft-reboot", same_boot=True)


def criu_script(vm: Machine, client: Client, mib: int) -> float:
    """What a script of six lines does: dump, load, jump; a unit restores."""
    without_us(vm)
    port = PORTS[0]
    vm.run(f"systemctl disable --now answer@{port}")
    vm.run(
        "systemd-run --quiet --unit=by-hand -p StandardOutput=null -p StandardError=null "
        f"/usr/bin/python3 -I -S /usr/local/bin/answer {port}"
    )
    client.wait_back(0, LIMIT_S)
    client.fill(mib)
    vm.run(LOAD)
    seconds = _leave(
        vm,
        client,
        f"mkdir -m 700 {BY_SCRIPT}; "
        f"criu dump --tree $(systemctl show -P MainPID by-hand) --images-dir {BY_SCRIPT} "
        "--log-file dump.log && sync && systemctl kexec",
    )
    vm.run("pkill -f bin/answer", check=False)
    return seconds


def liveupdated(vm: Machine, client: Client) -> tuple[float, Mapping[str, float]]:
    """The blackout, and the session's own phases in seconds."""
    before = vm.boot_id()
    kernel = next(k["id"] for k in ctl(vm, "kernels") if k["release"].startswith(KERNEL))
    client.begin()
    vm.start(f"liveupdatectl update --yes --kernel {kernel} > /var/tmp/update.log 2>&1")
    session = wait_finished(vm, before)
    seconds = client.wait_back(SILENT_S, LIMIT_S)
    if session["state"] != "confirmed":
        raise LabError(f"the update ended {session['state']}: {session['notes']}")
    phases = ctl(vm, "timeline last")["phases"]
    return seconds, {
        phase["name"]: phase["duration_us"] / 1e6 for phase in phases if not phase["workload"]
    }


def floor(vm: Machine, client: Client, mib: int) -> dict[str, float]:
    """A bare kexec to an init that answers at once, and the bytes to the carrier and back."""
    without_us(vm)
    vm.run(f"head -c {mib}M /dev/urandom > /dev/shm/bytes", timeout=LIMIT_S)
    seconds = {
        "write": _timed(vm, "dd if=/dev/shm/bytes of=/var/lib/bytes bs=1M conv=fsync"),
        "read": _timed(
            vm, "dd if=/var/lib/bytes of=/dev/null bs=1M", "echo 3 > /proc/sys/vm/drop_caches"
        ),
    }
    vm.run("rm /dev/shm/bytes /var/lib/bytes")
    cmdline = "$(cat /proc/cmdline) init=/usr/local/sbin/floor-init"
    vm.run(f'kexec -s --load /boot/vmlinuz-{KERNEL}* --command-line="{cmdline}"')
    client.begin()
    vm.start("sync; kexec --exec")
    seconds["jump"] = client.wait_back(SILENT_S, LIMIT_S)
    vm.reset()
    vm.wait_running()
    return seconds | {"blackout": sum(seconds.values())}


def _timed(vm: Machine, command: str, first: str = "true") -> float:
    said = vm.run(f"{first}; TIMEFORMAT=%R; time {command} 2> /dev/null", timeout=LIMIT_S).stderr
    return float(said.split()[-1])


def _leave(vm: Machine, client: Client, command: str, *, same_boot: bool = False) -> float:
    before = "" if same_boot else vm.boot_id()
    client.begin()
    vm.start(command)
    vm.wait_boot(before)
    seconds = client.wait_back(SILENT_S, LIMIT_S)
    vm.wait_running()
    time.sleep(2)  # the next way finds a quiet machine
    return seconds
