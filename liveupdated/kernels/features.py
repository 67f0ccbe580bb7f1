# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a kernel was built with, from its configuration where that is found."""

import os
import zlib
from dataclasses import dataclass

from liveupdated import paths

Tristate = bool | None
"""None: the kernel's configuration was not found."""

CRIU_OPTIONS = (
    "CHECKPOINT_RESTORE",
    "NAMESPACES",
    "UTS_NS",
    "IPC_NS",
    "SYSVIPC",
    "PID_NS",
    "NET_NS",
    "FHANDLE",
    "EVENTFD",
    "EPOLL",
    "INOTIFY_USER",
    "UNIX_DIAG",
    "INET_DIAG",
    "INET_UDP_DIAG",
    "PACKET_DIAG",
    "NETLINK_DIAG",
)
"""What CRIU asks of a kernel.  Source: https://criu.org/Linux_kernel"""


@dataclass(frozen=True)
class Features:
    """Built in or as a module: True; not built: False; unknown: None."""

    kexec_file: Tristate = None
    """kexec_file_load(2): it can itself be left by a checked kexec (KEXEC_FILE)."""
    criu: Tristate = None
    """All of CRIU_OPTIONS."""
    parallel_bringup: Tristate = None
    """CPUs come up in parallel (HOTPLUG_PARALLEL, since Linux 6.5)."""
    deferred_pages: Tristate = None
    """Most of memory is initialised in parallel (DEFERRED_STRUCT_PAGE_INIT)."""
    handover: Tristate = None
    """Memory can be handed to the next kernel (KEXEC_HANDOVER and LIVEUPDATE, since 6.19)."""
    criu_missing: tuple[str, ...] = ()
    """Those of CRIU_OPTIONS that it lacks."""


class BuildConfig:
    """A kernel's `.config`."""

    def __init__(self, text: bytes) -> None:
        self._text = b"\n" + text

    def value(self, option: str) -> str:
        """`y`, `m`, a number or a text; `n` where the option is off or not of this version."""
        start = self._text.find(f"\nCONFIG_{option}=".encode())
        if start < 0:
            return "n"
        line = self._text[start + 1 :].split(b"\n", 1)[0]
        return line.partition(b"=")[2].decode("ascii", "replace")

    def has(self, *options: str) -> bool:
        return all(self.value(option) in ("y", "m") for option in options)


def find_config(release: str) -> BuildConfig | None:
    """The configuration of the kernel of that release, where the distributions leave it."""
    if release in ("", ".", "..") or "/" in release:
        return None
    places = [
        paths.ROOT / "boot" / f"config-{release}",
        paths.ROOT / "usr/lib/modules" / release / "config",
    ]
    for place in places:
        try:
            return BuildConfig(place.read_bytes())
        except OSError:
            continue
    if release == os.uname().release:
        try:
            packed = (paths.ROOT / "proc/config.gz").read_bytes()
            return BuildConfig(zlib.decompress(packed, wbits=31))
        except (OSError, zlib.error):
            return None
    return None


def releases() -> list[str]:
    """Of the kernels whose configuration is where the distributions leave it."""
    boot = (path.name.removeprefix("config-") for path in (paths.ROOT / "boot").glob("config-*"))
    modules = (path.parent.name for path in (paths.ROOT / "usr/lib/modules").glob("*/config"))
    return sorted({*boot, *modules})


def features(config: BuildConfig | None) -> Features:
    if config is None:
        return Features()
    missing = tuple(option for option in CRIU_OPTIONS if not config.has(option))
    return Features(
        kexec_file=config.has("KEXEC_FILE"),
        criu=not missing,
        parallel_bringup=config.has("HOTPLUG_PARALLEL"),
        deferred_pages=config.has("DEFERRED_STRUCT_PAGE_INIT"),
        handover=config.has("KEXEC_HANDOVER", "LIVEUPDATE"),
        criu_missing=missing,
    )
