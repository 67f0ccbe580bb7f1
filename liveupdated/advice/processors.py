# SPDX-License-Identifier: LGPL-2.1-or-later
"""How the processors came up: one after the other, or in parallel.

The messages are those of kernel/smp.c, smp_init(), and arch/x86/kernel/smpboot.c,
arch_cpuhp_init_parallel_bringup().  The latter says that it goes in parallel only where it is asked
to, with `dyndbg="func arch_cpuhp_init_parallel_bringup +p"` (CONFIG_DYNAMIC_DEBUG).
"""

import re
from collections.abc import Iterator

from liveupdated.advice import Advice, Basis, Fact, Findings, parameters
from liveupdated.advice.evidence import Evidence
from liveupdated.timeline import marks
from liveupdated.timeline.kernellog import Record

_BROUGHT_UP = re.compile(r"smp: Brought up \d+ nodes?, (\d+) CPUs?$")
# "by the platform", or in older kernels "due to guest state encryption" and the like.
_REFUSED = re.compile(r"(?:smpboot: )?Parallel CPU startup disabled (.+)")
_ENABLED = "smpboot: Parallel CPU startup enabled"
_OPTION = "HOTPLUG_PARALLEL"


def findings(evidence: Evidence) -> Findings:
    begin = evidence.first("smp: Bringing up secondary CPUs")
    end, count = _brought_up(evidence)
    took = evidence.span_us(marks.SMP_START, marks.SMP_END)
    if not begin or not end or count < 2:
        return Findings()
    how, advice = _how(evidence, count, took, [evidence.quote(begin), evidence.quote(end)])
    return Findings([Fact("processors", f"{count} processors, {how}", took)], advice)


def _how(evidence: Evidence, count: int, took: int, seen: list[str]) -> tuple[str, list[Advice]]:
    if evidence.first(_ENABLED):
        return "in parallel, as the log says", []
    refused = next(_refusals(evidence), "")
    if evidence.is_off(parameters.PARALLEL.name):
        word = f"{parameters.PARALLEL.name}={evidence.parameter(parameters.PARALLEL.name)}"
        return f"one after the other: {word} is on the command line", [
            Advice(
                id="processors-parallel",
                title="bring up the processors in parallel",
                seen=[*seen, f"/proc/cmdline: {word}"],
                do=f"take {word} off the command line, unless it is there because this machine "
                "does not come up without",
                command="liveupdatectl advise --apply --only processors-parallel",
                gain_us=took,
                basis=Basis.AT_MOST,
                remove=[parameters.PARALLEL.name],
                careful=True,
            )
        ]
    if evidence.build is None:
        return "whether in parallel is not known without the kernel's configuration", []
    if not evidence.build.has(_OPTION):
        return "one after the other: this kernel cannot do it in parallel", [
            Advice(
                id="processors-kernel",
                title="boot a kernel that brings up its processors in parallel",
                seen=[*seen, f"configuration of {evidence.release}: CONFIG_{_OPTION} is not set"],
                do="on x86-64 all can since Linux 6.5. " + evidence.who_has(_OPTION),
                command="liveupdatectl kernels",
                gain_us=took,
                basis=Basis.AT_MOST,
            )
        ]
    if refused:
        return f"one after the other: parallel start-up is disabled {refused}", []
    return f"in parallel: CONFIG_{_OPTION}, and nothing in the log against it", []


def _brought_up(evidence: Evidence) -> tuple[Record | None, int]:
    for record in evidence.log.records:
        if found := _BROUGHT_UP.match(record.text):
            return record, int(found[1])
    return None, 0


def _refusals(evidence: Evidence) -> Iterator[str]:
    for record in evidence.log.records:
        if found := _REFUSED.match(record.text):
            yield found[1]
