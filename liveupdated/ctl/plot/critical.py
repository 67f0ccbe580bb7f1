# SPDX-License-Identifier: LGPL-2.1-or-later
"""The critical path: what the longest blackout of a session consists of."""

from collections.abc import Sequence

from liveupdated.ctl.shapes import Phase

BLACKOUT = "blackout"
SAVE = f"{BLACKOUT}/save"


def longest(phases: Sequence[Phase]) -> Phase | None:
    """The longest blackout, or None where nobody was frozen and came back."""
    found = [phase for phase in phases if phase["name"] == BLACKOUT]
    return max(found, key=lambda phase: phase["duration_us"], default=None)


def critical_path(phases: Sequence[Phase]) -> list[Phase]:
    """Its links, each cut to the time in which the longest blackout waited for it.

    They are: the phases of the session that lie in it; the save that all others waited for, where
    that is another workload's; and that blackout itself.
    """
    whole = longest(phases)
    if whole is None:
        return []
    top = [phase for phase in phases if not phase["workload"] and "/" not in phase["name"]]
    links = [cut for phase in top if (cut := _cut(phase, whole["start_us"], _end(whole)))]
    saves = [phase for phase in phases if phase["name"] == SAVE]
    last = max(saves, key=_end, default=None)
    if last and last["workload"] != whole["workload"]:
        own = [_end(save) for save in saves if save["workload"] == whole["workload"]]
        saved = own[0] if own else whole["start_us"]
        if waited := _cut(last, saved, _end(whole)):
            links.append(waited)
    return [*links, whole]


def _end(phase: Phase) -> int:
    return phase["start_us"] + phase["duration_us"]


def _cut(phase: Phase, begin: int, end: int) -> Phase | None:
    begin, end = max(begin, phase["start_us"]), min(end, _end(phase))
    if end <= begin:
        return None
    return Phase(
        name=phase["name"],
        start_us=begin,
        duration_us=end - begin,
        workload=phase["workload"],
    )
