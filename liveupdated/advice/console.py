# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the console cost: the kernel waits for a serial one, character by character.

A console that is registered gets all that was printed before, at once, while the kernel waits
(kernel/printk/printk.c, register_console()).  The silence after the message that says so is
therefore the time for a known number of characters: the console's speed, measured.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from liveupdated.advice import Advice, Basis, Fact, Findings, parameters
from liveupdated.advice.evidence import Evidence
from liveupdated.kernels import cmdline, versions
from liveupdated.timeline.kernellog import Record

_ENABLED = re.compile(
    r"(?:printk: )?(?P<legacy>legacy )?(?P<boot>boot)?console"
    r" \[(?P<name>\w+?)(?P<line>\d+)\] enabled"
)
_SCREEN = ("tty", "ttynull", "netcon", "pstore")
"""Names of consoles that nobody waits for as one does for a line: screen, nothing, network."""

_DEFAULT, _QUIET, _DEBUG, _ALL = 7, 4, 10, 15
"""Levels, where the configuration does not say (include/linux/printk.h)."""
_STAMP = len("[    0.000000] ") + len("\r\n")
_ENOUGH = 1_000
"""Characters, for a speed that means something."""
_BITS = 10
"""Of a character on the line, with its start and stop bit."""


@dataclass(frozen=True)
class _Console:
    name: str
    place: int
    """Of the record that says it is enabled."""
    boot: bool
    threaded: bool
    """It has a thread to print from (nbcon), and the kernel does not wait for it."""

    @property
    def serial(self) -> bool:
        return re.sub(r"\d+$", "", self.name) not in _SCREEN and not self.boot


def findings(evidence: Evidence) -> Findings:
    records = evidence.log.records
    if not records:
        return Findings()
    level = _level(evidence)
    quiet = min(level, _option(evidence, "CONSOLE_LOGLEVEL_QUIET", _QUIET))
    end = evidence.kernel_ended_us or records[-1].moment_us
    during = [record for record in records if record.moment_us <= end]
    consoles = _consoles(evidence)
    serial = [console for console in consoles if console.serial]
    printed = _characters(during, level)
    names = ", ".join(console.name for console in consoles) or "none that the log names"
    facts = [
        Fact(
            "console",
            f"{printed} characters before userspace, on {names}",
            sum(round(printed * _us_each(evidence, console, level)[0]) for console in serial),
        )
    ]
    advice = _early(evidence)
    saved = printed - _characters(during, quiet)
    if level > quiet and saved:
        advice.append(_quiet(evidence, serial, level, printed, saved))
    return Findings(facts, advice)


def _quiet(
    evidence: Evidence, serial: Sequence[_Console], level: int, printed: int, saved: int
) -> Advice:
    gain, hows = 0.0, []
    for console in serial:
        each, how = _us_each(evidence, console, level)
        gain += saved * each
        hows.append(f"{console.name}: {how}")
    ignored = evidence.parameter(parameters.IGNORE_LOGLEVEL.name) is not None
    return Advice(
        id="console-quiet",
        title="print less on the console while booting",
        seen=[
            f"/proc/cmdline: messages below level {level} are printed",
            f"{evidence.log.source}: {printed} characters before userspace, {saved} of them in "
            "messages that are no errors",
            *[evidence.quote(evidence.log.records[console.place]) for console in serial],
            *(hows or ["no serial console: what the screen costs is not in the log"]),
        ],
        do="quiet, for the jump: errors are still printed, the log stays whole. Without a serial "
        "console at all (console=) it is a little quicker, and nobody sees a kernel that fails: "
        "that is for you to decide",
        command="liveupdatectl advise --apply",
        gain_us=round(gain),
        basis=Basis.COMPUTED if gain else Basis.UNKNOWN,
        add=[parameters.QUIET.name],
        remove=[parameters.IGNORE_LOGLEVEL.name] if ignored else [],
    )


def _early(evidence: Evidence) -> list[Advice]:
    found = [
        parameter.name
        for parameter in (parameters.EARLYCON, parameters.EARLYPRINTK)
        if evidence.parameter(parameter.name) is not None
    ]
    if not found:
        return []
    return [
        Advice(
            id="console-early",
            title="do without an early console",
            seen=[f"/proc/cmdline: {' '.join(found)}"],
            do=f"take {' and '.join(found)} off the command line: for finding why a kernel does "
            "not come up, and slow",
            command="liveupdatectl advise --apply",
            remove=found,
        )
    ]


def _level(evidence: Evidence) -> int:
    """Messages below it are printed.  The words count in their order (init/main.c)."""
    level = _option(evidence, "CONSOLE_LOGLEVEL_DEFAULT", _DEFAULT)
    for name, value in map(cmdline.parse, evidence.words):
        if name == parameters.QUIET.name:
            level = _option(evidence, "CONSOLE_LOGLEVEL_QUIET", _QUIET)
        elif name == parameters.DEBUG.name and value is None:
            level = _DEBUG
        elif name == parameters.LOGLEVEL.name and value and value.isdecimal():
            level = int(value)
    return level if evidence.parameter(parameters.IGNORE_LOGLEVEL.name) is None else _ALL


def _option(evidence: Evidence, name: str, default: int) -> int:
    value = evidence.build.value(name) if evidence.build else ""
    return int(value) if value.isdecimal() else default


def _characters(records: Sequence[Record], level: int) -> int:
    return sum(len(record.text) + _STAMP for record in records if record.level < level)


def _consoles(evidence: Evidence) -> list[_Console]:
    """Since 6.7 a console without a thread of its own is called a legacy one."""
    tells = versions.compare(evidence.release, "6.7") > 0
    return [
        _Console(
            name=found["name"] + found["line"],
            place=place,
            boot=bool(found["boot"]),
            threaded=tells and not found["legacy"],
        )
        for place, record in enumerate(evidence.log.records)
        if (found := _ENABLED.match(record.text))
    ]


def _us_each(evidence: Evidence, console: _Console, level: int) -> tuple[float, str]:
    """µs that the kernel waited for a character, and how that is known; 0 when it is not."""
    if console.threaded:
        return 0, "it prints from a thread of its own, so that its cost is not known"
    records, place = evidence.log.records, console.place
    replayed = _characters(records[: place + 1], level)
    early = any(c.boot or c.name == console.name for c in _consoles(evidence) if c.place < place)
    took = evidence.silence_us(place)
    if took and replayed >= _ENOUGH and not early:
        return took / replayed, f"{replayed} characters took {took / 1000:.1f} ms, measured"
    speed = _line_speed(evidence, console.name)
    if speed and not evidence.first("Hypervisor detected") and not evidence.first("DMI: QEMU"):
        return _BITS * 1e6 / speed, f"a line of {speed} bit/s, by arithmetic"
    return 0, "the log does not show what a character costs"


def _line_speed(evidence: Evidence, name: str) -> int:
    """As console= says it, e.g. ``ttyS0,115200n8``."""
    for word, value in map(cmdline.parse, evidence.words):
        found = re.fullmatch(re.escape(name) + r",(\d+)\w*", value or "")
        if word == parameters.CONSOLE.name and found:
            return int(found[1])
    return 0
