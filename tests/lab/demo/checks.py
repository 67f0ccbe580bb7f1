# SPDX-License-Identifier: LGPL-2.1-or-later
"""What has to be so, before the live update and after it.  Pure: sights in, checks out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .sight import COUNTER, KEYS, LIMIT, REDIS, STOPPED, TRANSIENT, Sight

EXPECTED = {
    REDIS: ("carried", "carried"),
    COUNTER: ("carried", "carried"),
    TRANSIENT: ("restarted", "restarted"),
    STOPPED: ("carried", "carried"),  # its being stopped
}
"""Verdict and outcome."""
PHASES = {"save", "kexec", "kernel", "restore"}


@dataclass(frozen=True)
class Check:
    """One sentence that is true or not, and what was seen."""

    sentence: str
    true: bool
    seen: str


def of_the_plan(plan: Mapping[str, Any], target: str) -> list[Check]:
    """What `liveupdatectl plan --json` has to say before anything happens."""
    found = {workload["name"]: workload["verdict"] for workload in plan["workloads"]}
    verdicts = {name: found.get(name, "not found") for name in EXPECTED}
    return [
        Check(
            f"the plan leads to {target} by a live update, and nothing blocks it",
            plan["release"].startswith(target)
            and plan["rung"] == "live-update"
            and not plan["blockers"],
            f"{plan['release']}, {plan['rung']}; blockers: {plan['blockers'] or 'none'}",
        ),
        Check(
            "it has the right verdict for each workload beforehand",
            verdicts == {name: verdict for name, (verdict, _) in EXPECTED.items()},
            _pairs(verdicts),
        ),
    ]


def of_the_start(sight: Sight) -> list[Check]:
    """What makes the demo worth anything: it all runs, and redis's data is in memory only."""
    return [
        Check(
            f"redis holds {KEYS} keys, in memory only",
            sight.redis_keys == KEYS and not sight.redis_files,
            f"{sight.redis_keys} keys; on disk: {sight.redis_files or 'nothing'}",
        ),
        Check(
            "the counter counts, the transient unit runs with its limit, memcached is stopped "
            "though boot would start it",
            len(sight.counts) > 1
            and _transient_well(sight)
            and sight.stopped == "inactive enabled",
            f"{len(sight.counts)} numbers; {sight.transient}; {sight.stopped}",
        ),
    ]


def of_the_end(
    before: Sight,
    after: Sight,
    session: Mapping[str, Any],
    timeline: Mapping[str, Any],
    target: str,
) -> list[Check]:
    """What has to be so after the jump."""
    return [
        Check(
            f"another kernel runs, {target}",
            after.release.startswith(target) and not before.release.startswith(target),
            f"{before.release} before, {after.release} now",
        ),
        *_of_redis(before, after),
        *_of_the_counter(before, after),
        Check(
            "the transient unit runs, with its limit",
            _transient_well(after) and after.transient == before.transient,
            f"{after.transient}; memory.max {after.transient_limit or 'unknown'}",
        ),
        Check(
            "the service that was stopped by hand is stopped, and is its boot's again",
            after.stopped == "inactive enabled",
            after.stopped,
        ),
        *_of_the_session(session, timeline),
    ]


def _of_redis(before: Sight, after: Sight) -> list[Check]:
    return [
        Check(
            f"redis has its {KEYS} keys and their values, and still nothing on disk",
            after.redis_keys == KEYS
            and after.redis_values == before.redis_values
            and not after.redis_files,
            f"{after.redis_keys} keys, digest {before.redis_values} before, "
            f"{after.redis_values} now; on disk: {after.redis_files or 'nothing'}",
        ),
        Check(
            "redis is the same process: pid and run id",
            (after.redis_pid, after.redis_run) == (before.redis_pid, before.redis_run) != ("", ""),
            f"before {before.redis_pid} {before.redis_run}, "
            f"now {after.redis_pid} {after.redis_run}",
        ),
        Check(
            "redis's uptime is unbroken: it is longer than the kernel's",
            after.redis_uptime_s > after.booted_s and after.redis_uptime_s > before.redis_uptime_s,
            f"redis {before.redis_uptime_s} s before, {after.redis_uptime_s} s now; "
            f"the kernel {after.booted_s:.0f} s",
        ),
    ]


def _of_the_counter(before: Sight, after: Sight) -> list[Check]:
    numbers = [count.number for count in after.counts]
    last = before.counts[-1].number if before.counts else 0
    # in the order in which they first show up
    releases = list(dict.fromkeys(count.release for count in after.counts))
    gaps = [n for place, n in enumerate(numbers, 1) if n != place]
    first = next((c.number for c in after.counts if c.release == after.release), 0)
    return [
        Check(
            "the counter went on from where it stood: no number twice, none left out",
            not gaps and len(numbers) > last,
            f"at {last} before the update, at {len(numbers)} now"
            + (f"; out of order from {gaps[0]} on" if gaps else ""),
        ),
        Check(
            "both kernels are in the counter's log, and it counts on the new one",
            releases == [before.release, after.release],
            f"{', '.join(releases)}; from number {first} on the new one, "
            f"after a pause of {after.pause_s:.1f} s",
        ),
        Check(
            "the counter is the same process and never got a SIGTERM",
            after.counter_pid == before.counter_pid and not after.terminated,
            f"pid {before.counter_pid} before, {after.counter_pid} now; "
            f"SIGTERM file {'there' if after.terminated else 'absent'}",
        ),
    ]


def _of_the_session(session: Mapping[str, Any], timeline: Mapping[str, Any]) -> list[Check]:
    found = {w["name"]: (w["verdict"], w["outcome"]) for w in session["workloads"]}
    became = {name: found.get(name, ("not found", "")) for name in EXPECTED}
    bad = {
        w["name"]: f"{w['outcome'] or 'none'}: {w['outcome_reason']}"
        for w in session["workloads"]
        if w["outcome"] in ("", "lost", "failed")
    }
    phases = {phase["name"].split("/")[0] for phase in timeline["phases"]}
    spans = {part for phase in phases for part in phase.split("+")}
    return [
        Check(
            "the session is confirmed",
            session["state"] == "confirmed",
            " ".join([session["state"], session["reason"], *session["notes"]]).strip(),
        ),
        Check(
            "each workload has the outcome that its verdict promised, and none is lost",
            became == EXPECTED and not bad,
            _pairs({name: " → ".join(pair) for name, pair in became.items()})
            + (f"; {_pairs(bad)}" if bad else ""),
        ),
        Check(
            "the timeline tells of the whole way, and of the blackout",
            spans >= PHASES and timeline["blackout_us"] > 0,
            f"{', '.join(sorted(phases))}; blackout {timeline['blackout_us'] / 1e6:.1f} s",
        ),
    ]


def _transient_well(sight: Sight) -> bool:
    program = sight.transient.startswith("active ") and sight.transient.endswith("sleep infinity")
    return program and sight.transient_limit == str(LIMIT)


def _pairs(table: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {word}" for name, word in table.items())
