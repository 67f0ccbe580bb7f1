# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which initcalls took long, where the log says it: with initcall_debug only.

The messages are those of the kernel's init/main.c, trace_initcall_finish_cb().
"""

import re

from liveupdated.advice import Advice, Basis, Fact, Findings, parameters
from liveupdated.advice.evidence import Evidence
from liveupdated.timeline.kernellog import Record

_RETURNED = re.compile(
    r"initcall (?P<name>[^\s+]+)\+0x\S+(?: \[(?P<module>[^\]]+)\])?"
    r" returned -?\d+ after (?P<us>\d+) usecs"
)
_SLOW_US = 10_000
_SHOWN = 5
_SILENCES = 3


def findings(evidence: Evidence) -> Findings:
    calls = [
        (int(found["us"]), found["name"], found["module"] or "", record)
        for record in evidence.log.records
        if (found := _RETURNED.match(record.text))
    ]
    switched_on = evidence.parameter(parameters.INITCALL_DEBUG.name) is not None
    advice = [_switch_off(evidence)] if switched_on else []
    if not calls:
        # Switched on and nothing to see: the beginning of the log is gone.
        ask = bool(evidence.log.records) and not switched_on
        return Findings([], [_how_to_see(evidence)] if ask else advice)
    slow = sorted((call for call in calls if call[0] >= _SLOW_US), key=lambda call: -call[0])
    advice += [_slow(evidence, *call) for call in slow[:_SHOWN]]
    built_in = sum(us for us, _, module, _ in calls if not module)
    text = f"{len(calls)} initcalls, {len(slow)} of them took 10 ms or more"
    return Findings([Fact("initcalls", f"{text}; the built-in ones together", built_in)], advice)


def _slow(evidence: Evidence, us: int, name: str, module: str, record: Record) -> Advice:
    word = (
        f"{parameters.MODULE_BLACKLIST.name}={module}"
        if module
        else f"{parameters.INITCALL_BLACKLIST.name}={name}"
    )
    what = f"the module {module}" if module else "its driver"
    return Advice(
        id=f"initcall-{name}",
        title=f"{name}: do without {what}, where nothing here needs it",
        seen=[evidence.quote(record)],
        do=f"find out what it is for; if this host has no use for it, {word} leaves it out. "
        "What it waits for may be waited for by the next one then",
        command=f"liveupdatectl update --append {word}",
        gain_us=us,
        basis=Basis.AT_MOST,
    )


def _switch_off(evidence: Evidence) -> Advice:
    return Advice(
        id="initcall-debug",
        title="do not log every initcall",
        seen=[f"/proc/cmdline: {parameters.INITCALL_DEBUG.name}"],
        do="it has told what it can tell; it writes two messages for each initcall",
        command="liveupdatectl advise --apply",
        remove=[parameters.INITCALL_DEBUG.name],
    )


def _how_to_see(evidence: Evidence) -> Advice:
    return Advice(
        id="initcalls",
        title="see which initcalls take long",
        seen=_silences(evidence)
        or ["the kernel log has no times of initcalls: initcall_debug is not set"],
        do="jump once with initcall_debug, and ask for advice again after it",
        command=f"liveupdatectl update --append '{parameters.INITCALL_DEBUG.name} "
        f"{parameters.LOG_BUF_LEN.name}=16M'",
    )


def _silences(evidence: Evidence) -> list[str]:
    """Where the kernel was longest silent: something took its time there."""
    end = evidence.kernel_ended_us
    pairs = [(evidence.silence_us(n), record) for n, record in enumerate(evidence.log.records)]
    pairs = [pair for pair in pairs if pair[1].moment_us < end and pair[0] >= _SLOW_US]
    longest = sorted(pairs, key=lambda pair: -pair[0])[:_SILENCES]
    return [f"{us // 1000} ms of silence after {evidence.quote(record)}" for us, record in longest]
