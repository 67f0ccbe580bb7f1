# SPDX-License-Identifier: LGPL-2.1-or-later
"""The shapes of ``--json``: what the daemon's answers become, and what rendering gets.

Stable: fields are added, never renamed or removed.  Times are UTC microseconds since the epoch,
spans microseconds, sizes bytes; 0 or "" where there is nothing to say.
"""

from typing import TypedDict


class Inhibitor(TypedDict):
    who: str
    why: str
    mode: str
    uid: int
    pid: int


class Kernel(TypedDict):
    id: str
    release: str
    architecture: str
    kind: str
    image: str
    initrds: list[str]
    command_line: str
    source: str
    features: dict[str, bool]
    """What is not known is left out."""
    running: bool
    staged: bool
    blocked: bool
    problems: list[str]


class Workload(TypedDict):
    id: str
    kind: str
    name: str
    verdict: str
    reason: str
    source: str
    bytes: int
    cost_us: int


class Candidate(TypedDict):
    name: str
    why: str
    command: str


class Plan(TypedDict):
    kernel: str
    release: str
    rung: str
    rung_reason: str
    blackout_us: int
    bytes: int
    free_bytes: int
    carrier: str
    carrier_reason: str
    stop: str
    blockers: list[str]
    workloads: list[Workload]
    candidates: list[Candidate]


class Session(TypedDict):
    id: str
    state: str
    road: str
    rung: str
    origin_kernel: str
    target_kernel: str
    arrival_kernel: str
    created_us: int
    reason: str
    notes: list[str]
    carrier: str
    stop: str
    predicted_blackout_us: int
    blackout_us: int
    outcomes: dict[str, int]
    """How many workloads came to which end."""


class SessionWorkload(Workload):
    outcome: str
    outcome_reason: str
    frozen_us: int


class SessionDetail(Session):
    workloads: list[SessionWorkload]


class Phase(TypedDict):
    name: str
    """``a+b``: one span, the mark between the two is missing; ``a/b``: b is a part of a."""
    start_us: int
    duration_us: int
    workload: str


class Mark(TypedDict):
    name: str
    realtime_us: int
    boottime_us: int
    boot_id: str
    workload: str


class ClockStep(TypedDict):
    boot_id: str
    after: str
    before: str
    step_us: int


class Timeline(TypedDict):
    session: str
    start_us: int
    duration_us: int
    """Of the phases that are no part of another and no workload's: they are the whole."""
    blackout_us: int
    predicted_blackout_us: int
    phases: list[Phase]
    marks: list[Mark]
    clock_steps: list[ClockStep]
    uncertainty_us: int
    """Of any span that begins in one boot and ends in another."""
    notes: list[str]


class Status(TypedDict):
    version: str
    state: str
    running_kernel: str
    staged_kernel: str
    rung: str
    reboot_required: bool
    next_update_us: int
    inhibitors: list[Inhibitor]
    last_session: Session | None


class Fact(TypedDict):
    """What this boot spent time on, or what is in order."""

    name: str
    text: str
    duration_us: int


class Advice(TypedDict):
    id: str
    title: str
    seen: list[str]
    """Lines of the log and settings, each with its source."""
    gain_us: int
    basis: str
    """Of the gain: ``computed``, ``at most``; ``unknown`` and then the gain is 0."""
    do: str
    command: str
    add: list[str]
    """Words for the command line of the jump; with `remove` and `lean_initrd` what --apply sets."""
    remove: list[str]
    lean_initrd: bool
    careful: bool
    """--apply sets it only where --only names it."""
    applied: bool


class Advised(TypedDict):
    release: str
    facts: list[Fact]
    advice: list[Advice]
    """The largest gain first."""
    unread: list[str]
    file: str
    """The drop-in with what is applied; --dry-run shows it as it would be."""
    cmdline_add: list[str]
    cmdline_remove: list[str]
    lean_initrd: bool
    """Whether jumps have an initrd of their own."""
    changed: bool


class Device(TypedDict):
    device: str
    bytes: int
    holds: str
    """What is on it; empty for nothing."""


class Carriers(TypedDict):
    carrier: str
    """The one that would be taken now."""
    carrier_reason: str
    free_bytes: int
    set_aside: list[str]
    """The words that set memory aside, on the running kernel's command line."""
    cmdline_add: list[str]
    """Those that are added at each jump."""
    devices: list[Device]


class Ending(TypedDict):
    """What became of an order."""

    result: str
    """``done``; ``jumping`` when the host leaves for another kernel; ``cancelling``."""
    job: int
    """0 where no job was needed."""
    session: str
    kernel: str
    """Release of the kernel that it jumps into."""
    next_update_us: int
    """What Schedule answered."""
