# SPDX-License-Identifier: LGPL-2.1-or-later
"""KVM where it truly works, emulation elsewhere."""

import os
import subprocess
from pathlib import Path

from . import cache

TCG = ("-accel", "tcg,thread=multi,tb-size=192", "-cpu", "max")
"""`tb-size`: with QEMU 7.2's default a guest is twice as slow after a kexec."""
KVM = ("-accel", "kvm", "-cpu", "host")


def accelerator(kernel: Path) -> tuple[str, ...]:
    """QEMU's arguments for the fastest accelerator that boots `kernel` on this host."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return TCG
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    answer = cache.folder() / "kvm" / cache.digest(boot)
    cache.made(answer, lambda path: _answer(path, kernel))
    return KVM if answer.read_text() == "works" else TCG


def _answer(path: Path, kernel: Path) -> None:
    path.write_text("works" if boots_under_kvm(kernel) else "broken")


def boots_under_kvm(kernel: Path) -> bool:
    """Whether `kernel` gets as far as looking for its root file system.

    `/dev/kvm` alone says little: inside some virtual machines it is there, and a stock kernel ends
    in an "emulation failure" after a few instructions.
    """
    command = ["qemu-system-x86_64", "-machine", "q35", *KVM, "-m", "512", "-nodefaults"]
    command += ["-display", "none", "-serial", "stdio", "-no-reboot", "-kernel", str(kernel)]
    command += ["-append", "console=ttyS0 panic=-1"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return b"Unable to mount root fs" in done.stdout
