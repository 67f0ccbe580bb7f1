# SPDX-License-Identifier: LGPL-2.1-or-later
"""The modules of a kernel, by the list that depmod(8) has made."""

from collections.abc import Iterable

from liveupdated import paths


def loadable(release: str, names: Iterable[str]) -> list[str]:
    """Those of `names` that the kernel of that release has as a module (modules.dep(5)), in their
    order: systemd-modules-load.service fails over any other.  `-` and `_` are the same to it.
    """
    try:
        lines = (paths.ROOT / "usr/lib/modules" / release / "modules.dep").read_text().splitlines()
    except OSError:
        return []
    files = (line.partition(":")[0].rpartition("/")[2] for line in lines)
    there = {file.partition(".ko")[0].replace("-", "_") for file in files}
    return [name for name in dict.fromkeys(names) if name.replace("-", "_") in there]
