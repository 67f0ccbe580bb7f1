# SPDX-License-Identifier: LGPL-2.1-or-later
"""Boot loader entries: Boot Loader Specification (UAPI.1) type 1, a text file each.

Type 2 is the unified kernel image itself, which `images` reads.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from liveupdated.kernels import versions

_COUNTER = re.compile(r"\+(\d+)(?:-\d+)?$")

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))", re.ASCII)

_ARCHITECTURES = {"x64": "x86_64", "aa64": "aarch64", "ia32": "i686"}


@dataclass(frozen=True)
class Entry:
    path: Path
    linux: str
    """Below the root of the file system that holds the entry; empty when there is none."""
    title: str = ""
    version: str = ""
    machine_id: str = ""
    sort_key: str = ""
    initrds: tuple[str, ...] = ()
    """All `initrd` lines, in their order: microcode comes before the rest."""
    options: str | None = None
    """All `options` lines joined; None when there is none."""
    architecture: str = ""
    """As `uname -m`; empty when the entry does not say."""
    efi: bool = False
    """It names any EFI program, which may be no kernel at all."""

    @property
    def name(self) -> str:
        """The file's name without suffix and boot counter."""
        return _COUNTER.sub("", self.path.stem)

    @property
    def given_up(self) -> bool:
        """Boot counting has no tries left: it failed to boot too often (UAPI.1)."""
        counter = _COUNTER.search(self.path.stem)
        return counter is not None and int(counter[1]) == 0


def parse_entry(text: str, path: Path, variables: Mapping[str, str] | None = None) -> Entry:
    """The entry in `text`.

    `variables` are GRUB's (grubenv), None where another loader reads the entries: Fedora's and
    RHEL's hold `$kernelopts` and the like, and GRUB puts nothing for a variable it does not know.
    """
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        keyword, _, rest = line.strip().replace("\t", " ").partition(" ")
        if keyword and not keyword.startswith("#"):
            values.setdefault(keyword, []).append(_expand(rest.strip(), variables))

    def last(keyword: str) -> str:
        return values.get(keyword, [""])[-1]

    options = values.get("options")
    architecture = last("architecture").lower()
    return Entry(
        path=path,
        linux=last("linux") or last("uki") or last("efi"),
        title=last("title"),
        version=last("version"),
        machine_id=last("machine-id"),
        sort_key=last("sort-key"),
        initrds=tuple(word for value in values.get("initrd", []) for word in value.split()),
        options=" ".join(" ".join(options).split()) if options is not None else None,
        architecture=_ARCHITECTURES.get(architecture, architecture),
        efi="linux" not in values and "uki" not in values,
    )


def parse_grubenv(text: str) -> dict[str, str]:
    """The variables of GRUB's environment block."""
    pairs = (line.split("=", 1) for line in text.splitlines() if not line.startswith("#"))
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def _expand(text: str, variables: Mapping[str, str] | None) -> str:
    if variables is None:
        return text
    return _VARIABLE.sub(lambda match: variables.get(match[1] or match[2], ""), text)


def compare(a: Entry, b: Entry) -> int:
    """The order of a boot menu, negative when `a` comes first.  Source: UAPI.1, Sorting."""
    if a.given_up != b.given_up:
        return 1 if a.given_up else -1
    if bool(a.sort_key) != bool(b.sort_key):
        return -1 if a.sort_key else 1
    if a.sort_key:
        if (a.sort_key, a.machine_id) != (b.sort_key, b.machine_id):
            return -1 if (a.sort_key, a.machine_id) < (b.sort_key, b.machine_id) else 1
        if order := versions.compare(b.version, a.version):
            return order
    # With the suffix, as systemd-boot does: it puts arch.conf before arch-fallback.conf.
    return versions.compare(b.name + b.path.suffix, a.name + a.path.suffix)


menu_key = functools.cmp_to_key(compare)
