# SPDX-License-Identifier: LGPL-2.1-or-later
"""QEMU's arguments for a boot through real firmware and a boot loader on a disk."""

import shutil
import subprocess
from pathlib import Path

from tests.lab.image import Kernel
from tests.lab.qemu import CMDLINE

OVMF = Path("/usr/share/OVMF")
LOADER = Path("/usr/lib/systemd/boot/efi/systemd-bootx64.efi")


def arguments(kernel: Kernel, folder: Path) -> list[str]:
    """OVMF, and below `folder` a disk with systemd-boot and that kernel; no menu is waited for."""
    disk = folder / "esp.img"
    with disk.open("wb") as file:
        file.truncate(64 << 20)
    _run("mformat", "-i", str(disk), "-F", "::")
    for path in ("EFI", "EFI/BOOT", "loader", "loader/entries"):
        _run("mmd", "-i", str(disk), f"::{path}")
    entry, settings = folder / "entry", folder / "settings"
    entry.write_text(f"title Debian\nlinux /vmlinuz\noptions {CMDLINE}\n")
    settings.write_text("timeout 0\n")
    for source, target in (
        (LOADER, "EFI/BOOT/BOOTX64.EFI"),
        (kernel.image, "vmlinuz"),
        (entry, "loader/entries/debian.conf"),
        (settings, "loader/loader.conf"),
    ):
        _run("mcopy", "-i", str(disk), str(source), f"::{target}")
    variables = folder / "variables.fd"
    shutil.copyfile(OVMF / "OVMF_VARS_4M.fd", variables)
    code = OVMF / "OVMF_CODE_4M.fd"
    return [
        *("-drive", f"if=pflash,format=raw,readonly=on,file={code}"),
        *("-drive", f"if=pflash,format=raw,file={variables}"),
        *("-drive", f"if=none,id=esp,format=raw,file={disk}"),
        *("-device", "virtio-blk-pci,drive=esp,bootindex=0"),
    ]


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
