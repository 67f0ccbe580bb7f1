# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is refused, and what is called off after it began: a clear error, nothing armed, the
workloads untouched."""

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
NOBODY = "setpriv --reuid nobody --clear-groups"


def test_what_is_refused_or_called_off_changes_nothing(vm: Machine) -> None:
    furnish(vm)
    before = redis(vm)
    kernel = kernel_id(vm, "7.3")
    image = vm.run("echo /usr/lib/modules/7.3*/vmlinuz").stdout.strip()

    for refusal in (
        bad_images,
        bad_requests,
        a_blocked_kernel,
        no_authority,
        a_second_update,
        a_cancelled_update,
        a_full_state_folder,
        a_workload_that_criu_refuses,
        an_operators_jump_that_would_lose_something,
        kexec_load_disabled,  # the last: it cannot be undone without a boot
    ):
        refusal(vm, kernel, image)
        assert_untouched(vm, before)
    assert_counted_on(vm)


def bad_images(vm: Machine, kernel: str, image: str) -> None:
    vm.run("echo no kernel > /boot/vmlinuz-9.1-text; chmod 600 /boot/vmlinuz-9.1-text")
    vm.run(f"head -c 3000000 {image} > /boot/vmlinuz-9.2-truncated")
    # The machine field of an arm64 Image: 'ARM\x64' at 0x38 (booting.rst).
    vm.run(
        "dd if=/dev/zero of=/boot/vmlinuz-9.3-arm64 bs=1M count=4 status=none; "
        "printf 'ARM\\x64' | dd of=/boot/vmlinuz-9.3-arm64 bs=1 seek=56 conv=notrunc status=none"
    )
    vm.run(f"cp {image} /boot/vmlinuz-9.4-writable; chmod 666 /boot/vmlinuz-9.4-writable")
    vm.run(f"cp {image} /root/outside; ln -s /root/outside /boot/vmlinuz-9.5-outside")
    listed = ctl(vm, "kernels")
    found = {entry["image"].rpartition("/")[2]: entry for entry in listed}
    for name, word in (
        ("vmlinuz-9.1-text", "not"),
        ("vmlinuz-9.2-truncated", "truncated"),
        ("vmlinuz-9.3-arm64", "aarch64"),
        ("vmlinuz-9.4-writable", "writ"),
    ):
        entry = found[name]
        assert entry["problems"], f"{name} is listed as if it could be staged"
        refused(vm, f"liveupdatectl stage '{entry['id']}'", word)
    outside = next(entry for entry in listed if "outside" in entry["image"])
    refused(vm, f"liveupdatectl stage '{outside['id']}'", "/root/outside")
    vm.run("rm /boot/vmlinuz-9.* /root/outside")


def bad_requests(vm: Machine, kernel: str, image: str) -> None:
    refused(vm, "liveupdatectl stage 1.2.3-none", "no kernel", "1.2.3-none")
    refused(vm, f"busctl call {MANAGER} Update a{{sv}} 1 surprise s x", "surprise")
    refused(vm, f"busctl call {MANAGER} Update a{{sv}} 1 kernel u 5", "kernel")
    refused(vm, "liveupdatectl schedule 'every now and then'", "calendar")


def a_blocked_kernel(vm: Machine, kernel: str, image: str) -> None:
    vm.run(f"liveupdatectl block {kernel}")
    refused(vm, f"liveupdatectl stage {kernel}", "blocked", "unblock", code=7)
    refused(vm, "liveupdatectl update --yes", "6.12", code=7)  # there is none that is newer
    vm.run(f"liveupdatectl unblock {kernel}")
    refused(vm, "liveupdatectl confirm", "nothing to confirm", code=5)
    refused(vm, "liveupdatectl rollback --yes", "nothing to roll back to", code=5)


def no_authority(vm: Machine, kernel: str, image: str) -> None:
    for method in ("Update a{sv} 0", f"Stage sa{{sv}} {kernel} 0", "Rehearse a{sv} 0"):
        refused(vm, f"{NOBODY} busctl call {MANAGER} {method}", "uthor")
    refused(vm, f"{NOBODY} ls /var/lib/liveupdated", "denied")


def a_second_update(vm: Machine, kernel: str, image: str) -> None:
    vm.run(
        f"busctl call {MANAGER} Rehearse a{{sv}} 0; "
        f"busctl call {MANAGER} Update a{{sv}} 0 && exit 1; true",
        timeout=JUMP_LIMIT_S,
    )
    refused(vm, "liveupdatectl update --yes", "under way")
    wait_idle(vm)


def a_cancelled_update(vm: Machine, kernel: str, image: str) -> None:
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


def a_full_state_folder(vm: Machine, kernel: str, image: str) -> None:
    vm.run("mkdir -p /var/lib/liveupdated/sessions; systemctl stop liveupdated")
    vm.run("mount -t tmpfs -o size=3M,mode=700 none /var/lib/liveupdated")
    refused(vm, "liveupdatectl update --yes", "MiB free", code=7)
    vm.run("systemctl stop liveupdated; umount /var/lib/liveupdated")


def a_workload_that_criu_refuses(vm: Machine, kernel: str, image: str) -> None:
    vm.put(UNCARRIABLE, "/etc/systemd/system/uncarriable.service")
    vm.run("systemctl daemon-reload; systemctl start uncarriable")
    refused(vm, f"liveupdatectl update --yes --kernel {kernel}", "uncarriable.service", "could not")
    session = ctl(vm, "history last")
    assert session["state"] == "abandoned"
    assert "uncarriable.service" in session["reason"], session
    assert vm.run(["systemctl", "is-active", "uncarriable"]).stdout == "active\n"
    vm.run("systemctl stop uncarriable; rm /etc/systemd/system/uncarriable.service")


def an_operators_jump_that_would_lose_something(vm: Machine, kernel: str, image: str) -> None:
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


def kexec_load_disabled(vm: Machine, kernel: str, image: str) -> None:
    vm.run("echo 1 > /proc/sys/kernel/kexec_load_disabled")
    refused(vm, f"liveupdatectl update --yes --kernel {kernel}", "kexec_load_disabled")
