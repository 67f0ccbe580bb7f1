# SPDX-License-Identifier: LGPL-2.1-or-later
"""Huge pages: the pools of each size (of each node, where there are several), and when the kernel
makes huge pages by itself."""

from pathlib import Path

from liveupdated.errors import ServiceError
from liveupdated.hoststate.category import Category, Snapshot

POOLS = Path("/sys/kernel/mm/hugepages")
NODES = Path("/sys/devices/system/node")
TRANSPARENT = Path("/sys/kernel/mm/transparent_hugepage")


def snapshot() -> Snapshot:
    files = sorted(NODES.glob("node*/hugepages/*/nr_hugepages"))
    if len({file.parts[-4] for file in files}) < 2:
        files = sorted(POOLS.glob("*/nr_hugepages"))
    files += sorted(POOLS.glob("*/nr_overcommit_hugepages"))
    found = {str(file): _read(file) for file in files}
    for name in ("enabled", "defrag", "shmem_enabled"):
        if (TRANSPARENT / name).exists():
            found[str(TRANSPARENT / name)] = _read(TRANSPARENT / name)
    return found


def _read(file: Path) -> str:
    """A number, or the chosen one of several words (transhuge.rst): it stands in brackets."""
    text = file.read_text().strip()
    return text.partition("[")[2].partition("]")[0] or text


def put(key: str, value: str) -> None:
    file = Path(key)
    file.write_text(value)
    if (found := _read(file)) != value:
        raise ServiceError(f"{key} is {found}", "memory is too full or too scattered for more")


CATEGORY = Category(
    name="hugepages",
    title="huge pages",
    snapshot=snapshot,
    put=put,
    provides=lambda key, value: ["hugepages"],
)
