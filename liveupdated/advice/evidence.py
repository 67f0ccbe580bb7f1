# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is known of how this boot went, gathered once; what cannot be read is said."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from liveupdated import paths, systemd
from liveupdated.errors import ServiceError
from liveupdated.kernels import cmdline
from liveupdated.kernels.features import BuildConfig, find_config, releases
from liveupdated.systemd import Properties
from liveupdated.timeline import boot, kernellog, marks
from liveupdated.timeline.kernellog import KernelLog, Record

UNIT_PROPERTIES = (
    "After",
    "InactiveExitTimestampMonotonic",
    "ActiveEnterTimestampMonotonic",
    "ConditionTimestampMonotonic",
)

_RUN = re.compile(r"Run \S+ as init process")
_FALSE = ("0", "n", "no", "f", "false", "off")


@dataclass(frozen=True)
class Evidence:
    """One boot."""

    release: str
    log: KernelLog
    moments: Mapping[str, int]
    """Names of `timeline.marks` to µs since the start of the kernel."""
    words: list[str]
    """Of the running kernel's command line, without what is for init."""
    build: BuildConfig | None = None
    others: Mapping[str, BuildConfig] = field(default_factory=dict)
    """Of the other kernels of this host, by release."""
    units: Mapping[str, Properties] = field(default_factory=dict)
    root: Path = Path("/")
    """Where settings of the initrd's builder are looked for."""
    unread: list[str] = field(default_factory=list)

    def first(self, start: str) -> Record | None:
        """The first record that begins so."""
        return next((r for r in self.log.records if r.text.startswith(start)), None)

    def span_us(self, begin: str, end: str) -> int:
        """Between two marks; 0 when one is missing or they are not a span."""
        if begin not in self.moments or end not in self.moments:
            return 0
        return max(0, self.moments[end] - self.moments[begin])

    @property
    def kernel_ended_us(self) -> int:
        """When the first program was run; 0 when not known.  init/main.c, run_init_process()."""
        ran = next((r for r in self.log.records if _RUN.fullmatch(r.text)), None)
        began = (self.moments.get(name, 0) for name in (marks.INITRD_START, marks.USERSPACE_START))
        return ran.moment_us if ran else min((moment for moment in began if moment), default=0)

    def silence_us(self, place: int) -> int:
        """From the record there to the next; 0 where that is no measure of what came between.

        Early on the kernel's clock may stand still for some messages, and then jump: there is a
        silence only after a message that has a later stamp than the one before.
        """
        if not 0 < place < len(self.log.records) - 1:
            return 0
        before, at, after = (r.moment_us for r in self.log.records[place - 1 : place + 2])
        return after - at if before < at else 0

    def who_has(self, option: str) -> str:
        """Which other kernels of this host are built with it, as a sentence."""
        able = [release for release, build in self.others.items() if build.has(option)]
        return (
            f"On this host, these have it: {', '.join(able)}"
            if able
            else "No other kernel of this host is known to have it"
        )

    def quote(self, record: Record) -> str:
        return f"{self.log.source}: {record}"

    def parameter(self, name: str) -> str | None:
        """Its last value on the command line; "" of a bare word, None when it is not there."""
        values = [
            value
            for word, value in map(cmdline.parse, self.words)
            if word.replace("-", "_") == name
        ]
        return (values[-1] or "") if values else None

    def is_off(self, name: str) -> bool:
        """Whether the command line says so; for the kernel's kstrtobool() parameters."""
        value = self.parameter(name)
        return value is not None and value.lower() in _FALSE


def gather() -> Evidence:
    """Of the running boot."""
    unread = []
    release = os.uname().release
    log = kernellog.read()
    if log.problem:
        unread.append(
            f"kernel log: {log.problem} (root and the groups adm and systemd-journal may read it)"
        )
    moments = boot.manager_moments()
    if not moments:
        unread.append("systemd's time stamps: systemctl show does not tell them")
    build = find_config(release)
    if build is None:
        unread.append(
            f"the kernel's configuration: neither /boot/config-{release} nor "
            f"/usr/lib/modules/{release}/config nor /proc/config.gz can be read"
        )
    units: dict[str, Properties] = {}
    try:
        units = systemd.show(["*"], UNIT_PROPERTIES)
    except ServiceError as error:
        unread.append(f"systemd's units: {error.why.partition(chr(10))[0]}")
    except OSError as error:  # no systemctl
        unread.append(f"systemd's units: {error}")
    return Evidence(
        release=release,
        log=log,
        # systemd knows its own initrd better than the log does.
        moments=boot.kernel_moments(log.records) | moments,
        words=list(takewhile(lambda word: word != "--", cmdline.split(cmdline.running()))),
        build=build,
        others={
            other: its
            for other in releases()
            if other != release and (its := find_config(other)) is not None
        },
        units=units,
        root=paths.ROOT,
        unread=unread,
    )
