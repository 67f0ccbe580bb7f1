# SPDX-License-Identifier: LGPL-2.1-or-later
"""A machine that boots as hardware does: UEFI firmware, a boot loader on its own disk, the kernel.

OVMF (Debian's package ovmf) and systemd-boot (systemd-boot-efi), without a menu's time-out.
"""

import subprocess
from pathlib import Path

from tests.lab.image import Kernel
from tests.lab.qemu import CMDLINE

CODE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
LOADER = Path("/usr/lib/systemd/boot/efi/systemd-bootx64.efi")
ESP_MIB = 64
ENTRY = f"title Linux\nlinux /vmlinuz\noptions {CMDLINE}\n"


def arguments(folder: Path, kernel: Kernel) -> list[str]:
    """QEMU's, for a machine that boots that kernel by itself; its disk is made in `folder`."""
    esp, variables = folder / "esp.img", folder / "variables.fd"
    variables.write_bytes(VARIABLES.read_bytes())
    _make_esp(esp, kernel.image)
    return [
        *("-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={CODE}"),
        *("-drive", f"if=pflash,unit=1,format=raw,file={variables}"),
        *("-drive", f"if=none,id=esp,format=raw,file={esp},cache=unsafe"),
        *("-device", "virtio-blk-pci,drive=esp,bootindex=0"),
    ]


def _make_esp(esp: Path, kernel: Path) -> None:
    with esp.open("wb") as file:
        file.truncate(ESP_MIB << 20)
    _run(["mkfs.vfat", "-F", "32", str(esp)])
    mtools = ["-i", str(esp)]
    _run(["mmd", *mtools, "::EFI", "::EFI/BOOT", "::loader", "::loader/entries"])
    _run(["mcopy", *mtools, str(LOADER), "::EFI/BOOT/BOOTX64.EFI"])
    _run(["mcopy", *mtools, str(kernel), "::vmlinuz"])
    for name, text in (("loader.conf", "timeout 0\n"), ("entries/linux.conf", ENTRY)):
        _run(["mcopy", *mtools, "-", f"::loader/{name}"], text)


def _run(command: list[str], stdin: str = "") -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, input=stdin)
