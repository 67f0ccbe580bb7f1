# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sysctls: every file below /proc/sys that can be read and written.

Names are those of sysctl.d(5): dots between the parts, a slash for a dot in an interface's name.
"""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from liveupdated.hoststate import managers
from liveupdated.hoststate.category import UNREADABLE, Category, Snapshot

ROOT = Path("/proc/sys")

# Not read at all: reading does something, or an automount is behind it (proc_sys_fs_binfmt_misc).
SKIPPED = ("fs/binfmt_misc", "kernel/random", "vm/stat_refresh", "net/ipv4/route/flush")

# They change by themselves, or count down (Documentation/admin-guide/sysctl/ of the kernel).
RESTLESS = frozenset(
    """
    kernel/ns_last_pid kernel/tainted kernel/perf_event_max_sample_rate
    kernel/hung_task_warnings kernel/kexec_load_limit_panic kernel/kexec_load_limit_reboot
    kernel/msg_next_id kernel/sem_next_id kernel/shm_next_id kernel/cad_pid
    vm/drop_caches vm/compact_memory
    net/ipv6/route/flush
    """.split()
)
# Of another category.
ELSEWHERE = frozenset(
    "vm/nr_hugepages vm/nr_hugepages_mempolicy vm/nr_overcommit_hugepages".split()
)
# Set by the kernel for each new link, from what the link is; `links` puts the link back.
PER_LINK = ("conf", "neigh")
OF_THE_LINK = ("mtu", "accept_dad", "use_tempaddr")

LEFT_OUT = RESTLESS | ELSEWHERE | frozenset(SKIPPED)
READ_WRITE = stat.S_IRUSR | stat.S_IWUSR

_SWAPPED = str.maketrans("./", "/.")


def snapshot() -> Snapshot:
    found: Snapshot = {}
    for folder, folders, files in os.walk(ROOT):
        below = os.path.relpath(folder, ROOT)
        folders[:] = [name for name in folders if f"{below}/{name}" not in SKIPPED]
        if _of_a_managed_link(below):
            continue
        for name in files:
            path = name if below == "." else f"{below}/{name}"
            if path not in LEFT_OUT and (value := _read(f"{folder}/{name}")) is not None:
                found[path.translate(_SWAPPED)] = value
    return found


def look(keys: Iterable[str]) -> Snapshot:
    values = {key: _read(f"{ROOT}/{key.translate(_SWAPPED)}") for key in keys}
    return {key: value for key, value in values.items() if value is not None}


def _read(file: str) -> str | None:
    try:
        if os.stat(file).st_mode & READ_WRITE != READ_WRITE:
            return None
        with open(file, encoding="utf-8") as opened:
            return opened.read().strip()
    except PermissionError:
        return UNREADABLE  # AppArmor's, and those of the BPF compiler
    except (OSError, UnicodeDecodeError):
        return None  # gone with its link, or not set (stable_secret of ip-sysctl.rst)


def _of_a_managed_link(folder: str) -> bool:
    group = folder.split("/")
    return len(group) == 4 and group[2] in PER_LINK and managers.owns_link(group[3])


def _default(key: str, now: Snapshot) -> str | None:
    """A link's own settings (net/FAMILY/GROUP/LINK/NAME) begin as those of `default`."""
    parts = key.translate(_SWAPPED).split("/")
    if len(parts) != 5 or parts[2] not in PER_LINK:
        return None
    if parts[4] in OF_THE_LINK:
        return now[key]
    parts[3] = "default"
    return now.get("/".join(parts).translate(_SWAPPED))


def unheard_of(key: str) -> bool:
    """The group is there, and it is not: another kernel's module brought others along."""
    file = ROOT / key.translate(_SWAPPED)
    return file.parent.is_dir() and not file.exists()


def put(key: str, value: str) -> None:
    (ROOT / key.translate(_SWAPPED)).write_text(f"{value}\n")


CATEGORY = Category(
    name="sysctl",
    title="sysctls",
    snapshot=snapshot,
    put=put,
    look=look,
    default=_default,
    unheard_of=unheard_of,
    needs=("module", "link", "hugepages"),
    after=("systemd-sysctl.service",),
)
