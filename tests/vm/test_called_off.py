# SPDX-License-Identifier: LGPL-2.1-or-later
"""Updates that are called off after they began: all that was frozen runs on, nothing is armed."""

import time

from tests.lab.qemu import Machine
from tests.vm.guest import (
    JUMP_LIMIT_S,
    MANAGER,
    assert_counted_on,
    assert_untouched,
    ctl,
    furnish,
    kernel_id,
    redis,
    refused,
    wait_idle,
)

# CRIU knows no AF_ALG sockets, and says so only when it dumps.
UNCARRIABLE = b"""\
[Service]
X-LiveUpdate=carry
ExecStart=/usr/bin/python3 -c "import socket, time; s = socket.socket(socket.AF_ALG, \\
 socket.SOCK_SEQPACKET); s.bind(('hash', 'sha256')); time.sleep(1e6)"
"""


def test_what_is_called_off_leaves_all_running(vm: Machine) -> None:
    furnish(vm)
    before = redis(vm)
    kernel = kernel_id(vm, "7.3")
    for call_off in (
        a_cancelled_update,
        a_full_state_folder,
        a_workload_that_criu_refuses,
        an_operators_jump_that_would_lose_something,
        kexec_load_disabled,  # the last: it cannot be undone without a boot
    ):
        call_off(vm, kernel)
        assert_untouched(vm, before)
    assert_counted_on(vm)


def a_cancelled_update(vm: Machine, kernel: str) -> None:
    # busctl, because it is quick: after the save it would be too late.
    vm.run(
        f"job=$(busctl call {MANAGER} Update a{{sv}} 1 kernel s {kernel} | cut -d'\"' -f2); "
        "until grep -q 'frozen 1' /sys/fs/cgroup/system.slice/*/cgroup.events; do sleep 0.1; done; "
        "busctl call org.liveupdate1 $job org.liveupdate1.Job Cancel",
        timeout=JUMP_LIMIT_S,
    )
    wait_idle(vm)
    session = ctl(vm, "history last")
    assert session["state"] == "abandoned" and "cancel" in session["reason"], session


def a_full_state_folder(vm: Machine, kernel: str) -> None:
    vm.run("mkdir -p /var/lib/liveupdated/sessions; systemctl stop liveupdated")
    vm.run("mount -t tmpfs -o size=3M,mode=700 none /var/lib/liveupdated")
    refused(vm, "liveupdatectl update --yes", "MiB free", code=7)
    vm.run("systemctl stop liveupdated; umount /var/lib/liveupdated")


def a_workload_that_criu_refuses(vm: Machine, kernel: str) -> None:
    vm.put(UNCARRIABLE, "/etc/systemd/system/uncarriable.service")
    vm.run("systemctl daemon-reload; systemctl start uncarriable")
    refused(vm, f"liveupdatectl update --yes --kernel {kernel}", "uncarriable.service", "could not")
    session = ctl(vm, "history last")
    assert session["state"] == "abandoned"
    assert "uncarriable.service" in session["reason"], session
    assert vm.run(["systemctl", "is-active", "uncarriable"]).stdout == "active\n"
    vm.run("systemctl stop uncarriable; rm /etc/systemd/system/uncarriable.service")


def an_operators_jump_that_would_lose_something(vm: Machine, kernel: str) -> None:
    vm.put(UNCARRIABLE, "/etc/systemd/system/uncarriable.service")
    vm.run("systemctl daemon-reload; systemctl start uncarriable")
    vm.run(f"liveupdatectl stage {kernel}", timeout=JUMP_LIMIT_S)
    boot = vm.boot_id()
    sessions = len(ctl(vm, "history"))
    vm.run("systemctl kexec", check=False)
    limit = time.monotonic() + JUMP_LIMIT_S
    while len(ctl(vm, "history")) == sessions or ctl(vm, "history last")["state"] != "abandoned":
        assert time.monotonic() < limit, ctl(vm, "history last")
    vm.run("until [ $(cat /sys/kernel/kexec_loaded) = 0 ]; do sleep 1; done")
    vm.run("while [ -L /run/systemd/system/kexec.target ]; do sleep 1; done", timeout=120)
    assert vm.boot_id() == boot
    vm.run("systemctl stop uncarriable; rm /etc/systemd/system/uncarriable.service")


def kexec_load_disabled(vm: Machine, kernel: str) -> None:
    vm.run("echo 1 > /proc/sys/kernel/kexec_load_disabled")
    refused(vm, f"liveupdatectl update --yes --kernel {kernel}", "kexec_load_disabled")
