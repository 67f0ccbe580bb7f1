# SPDX-License-Identifier: LGPL-2.1-or-later
"""Boots: real logs of Debian's cloud kernels in QEMU (TCG), and fabricated ones.

The logs end where userspace begins; the token is blanked.  The units are those of a trixie in a
container.
"""

from collections.abc import Mapping
from pathlib import Path

from liveupdated import systemd
from liveupdated.advice.evidence import Evidence
from liveupdated.kernels import cmdline
from liveupdated.kernels.features import BuildConfig
from liveupdated.systemd import Properties
from liveupdated.timeline import boot, kernellog
from liveupdated.timeline.kernellog import KernelLog

HERE = Path(__file__).parent
CLOUD = """\
CONFIG_HOTPLUG_PARALLEL=y
CONFIG_DEFERRED_STRUCT_PAGE_INIT=y
CONFIG_CONSOLE_LOGLEVEL_DEFAULT=7
CONFIG_CONSOLE_LOGLEVEL_QUIET=4
"""
"""Of both of Debian's kernels."""

PARALLEL = """\
<6>[    0.431229] smp: Bringing up secondary CPUs ...
<6>[    0.438971] smpboot: x86: Booting SMP configuration:
<6>[    1.931220] smp: Brought up 2 nodes, 16 CPUs
"""
SERIAL_CONSOLE = """\
<6>[    0.000000] Linux version 6.12.0
{lines}<6>[    0.146896] printk: legacy console [tty0] enabled
<6>[    0.147433] printk: legacy console [ttyS0] enabled
<6>[    1.951453] ACPI: Core revision 20240827
<4>[    1.960000] a warning
<6>[    3.000000] Run /sbin/init as init process
""".format(lines="".join(f"<6>[    0.0000{n:02}] {'x' * 83}\n" for n in range(100)))
"""100 lines of 100 characters on the line, and those that enable the consoles, took 1.8 s."""
INITRD = """\
[    1.277857] Trying to unpack rootfs image as initramfs...
[    1.799278] Freeing initrd memory: 39272K
[    1.900000] Run /init as init process
"""
INITCALLS = """\
[    0.348240] calling  pnp_system_init+0x0/0x40 @ 1
[    0.419241] initcall pnp_system_init+0x0/0x40 returned 0 after 70651 usecs
[    0.900000] initcall acpi_init+0x0/0x5b0 returned 0 after 104216 usecs
[    0.910000] initcall quick_init+0x0/0x20 returned -19 after 9999 usecs
[    5.000000] initcall init_module+0x0/0xff0 [nvme_core] returned 0 after 250000 usecs
"""


def made(
    log: str = "",
    line: str = "",
    build: str | None = CLOUD,
    *,
    release: str = "6.12.0",
    root: Path = Path("/nonexistent"),
    stamps: Mapping[str, int] | None = None,
    units: Mapping[str, Properties] | None = None,
) -> Evidence:
    """Evidence of a boot that we make up."""
    records = kernellog.parse(log)
    return Evidence(
        release=release,
        log=KernelLog(records, "/dev/kmsg" if records else ""),
        moments={**boot.kernel_moments(records), **(stamps or {})},
        words=cmdline.split(line),
        build=None if build is None else BuildConfig(build.encode()),
        units=units or {},
        root=root,
    )


def real(name: str) -> Evidence:
    """One of the real logs, with the command line that it shows."""
    text = (HERE / f"{name}.kmsg").read_text()
    evidence = made(text, release=f"{name.rpartition('-')[2]}.0+deb13-cloud-amd64")
    shown = evidence.first("Command line: ")
    assert shown
    return made(text, shown.text.partition(": ")[2], release=evidence.release)


def units() -> dict[str, Properties]:
    blocks = systemd.blocks((HERE / "trixie-units.txt").read_text())
    return {unit["Id"]: unit for unit in blocks}
