# SPDX-License-Identifier: LGPL-2.1-or-later
"""All matters asked about one boot."""

from liveupdated.advice import (
    Report,
    console,
    initcalls,
    initrd,
    largest_first,
    memory,
    processors,
    units,
)
from liveupdated.advice.evidence import Evidence

MATTERS = (
    processors.findings,
    memory.findings,
    console.findings,
    initcalls.findings,
    initrd.findings,
    units.findings,
)
"""In the order in which a boot comes to them."""


def report(evidence: Evidence) -> Report:
    """What was measured, and what would shorten the next boot."""
    found = [findings(evidence) for findings in MATTERS]
    return Report(
        release=evidence.release,
        facts=[fact for each in found for fact in each.facts],
        advice=largest_first([advice for each in found for advice in each.advice]),
        unread=evidence.unread,
    )
