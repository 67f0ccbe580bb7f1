# SPDX-License-Identifier: LGPL-2.1-or-later
"""How long the kernel worked on its own bookkeeping of memory.

The messages are those of the kernel's mm/mm_init.c and mm/hugetlb.c.
"""

import re

from liveupdated.advice import Advice, Fact, Findings
from liveupdated.advice.evidence import Evidence
from liveupdated.timeline import marks

_DEFERRED = re.compile(r"node \d+ deferred pages initialised in (\d+)ms")
_TOTAL = re.compile(r"Memory: \d+K/(\d+)K available")
_HUGE = re.compile(r"HugeTLB: allocation took (\d+)ms")
_OPTION = "DEFERRED_STRUCT_PAGE_INIT"


def findings(evidence: Evidence) -> Findings:
    facts = []
    texts = [(record, record.text) for record in evidence.log.records]
    nodes = [record for record, text in texts if _DEFERRED.match(text)]
    if nodes:
        took = evidence.span_us(marks.DEFERRED_START, marks.DEFERRED_END)
        side = f" of {len(nodes)} nodes, side by side" if len(nodes) > 1 else ""
        facts.append(Fact("deferred-pages", f"memory{side}, initialised in parallel", took))
    huge = sum(int(found[1]) for _, text in texts if (found := _HUGE.match(text)))
    if huge:
        facts.append(Fact("huge-pages", "huge pages that the command line asks for", huge * 1000))
    if nodes or evidence.build is None or evidence.build.has(_OPTION):
        return Findings(facts)
    seen = [f"configuration of {evidence.release}: CONFIG_{_OPTION} is not set"]
    total = next((record for record, text in texts if _TOTAL.match(text)), None)
    if total:
        seen.append(evidence.quote(total))
    return Findings(
        facts,
        [
            Advice(
                id="deferred-pages",
                title="boot a kernel that initialises its memory in parallel",
                seen=seen,
                do="the log of this one has no time for it; it grows with memory. "
                + evidence.who_has(_OPTION),
                command="liveupdatectl kernels",
            )
        ],
    )
