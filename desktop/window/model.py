# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the window says about what came over the bus.  Pure: shapes go in, rows come out.

Reasons, blockers and notes are the daemon's own sentences and are passed on as they are.
"""

import datetime
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from liveupdated.ctl.brief import way
from liveupdated.ctl.render import nested, ordinary
from liveupdated.ctl.shapes import (
    Kernel,
    Phase,
    Plan,
    Session,
    SessionDetail,
    SessionWorkload,
    Timeline,
    Workload,
)
from liveupdated.ctl.shaping import Properties
from liveupdated.ctl.units import plain

from .i18n import N_, _, duration, ngettext, size

_WORDS = {
    "carried": N_("Carried"),
    "restarted": N_("Restarted"),
    "reopened": N_("Reopened"),
    "lost": N_("Lost"),
    "blocks": N_("Blocks"),
    "failed": N_("Failed"),
    "planned": N_("Planned"),
    "saving": N_("Saving"),
    "saved": N_("Saved"),
    "jumping": N_("Jumping"),
    "restoring": N_("Restoring"),
    "restored": N_("Restored"),
    "confirmed": N_("Confirmed"),
    "degraded": N_("Degraded"),
    "missed": N_("Missed"),
    "abandoned": N_("Abandoned"),
    "rehearsed": N_("Rehearsed"),
    "running": N_("Running"),
    "staged": N_("Staged"),
    "blocked": N_("Blocked"),
}
_STYLES = {
    **dict.fromkeys(("carried", "confirmed", "rehearsed", "running"), "success"),
    **dict.fromkeys(("restarted", "staged"), "accent"),
    **dict.fromkeys(("reopened", "degraded", "abandoned"), "warning"),
    **dict.fromkeys(("lost", "blocks", "failed", "missed", "blocked"), "error"),
}
_ROADS = {
    "update": N_("Asked for"),
    "timer": N_("By schedule"),
    "rollback": N_("Rollback"),
    "rehearse": N_("Rehearsal"),
    "operator": N_("By systemctl"),
}
_JOBS = {
    "stage": N_("Loading a kernel"),
    "unstage": N_("Unloading the kernel"),
    "update": N_("Updating"),
    "rehearse": N_("Rehearsing"),
    "rollback": N_("Going back"),
    "operator": N_("Updating, as systemctl asked"),
    "carry": N_("Trying to carry a workload"),
}
_GROUPS = {
    "blocks": (N_("Blocks the update"), N_("Nothing happens until this is settled.")),
    "lost": (N_("Would be lost"), N_("Nothing brings these back.")),
    "reopened": (N_("Opened again"), N_("Applications start empty.")),
    "carried": (N_("Carried"), N_("These go on where they were, with their memory.")),
    "restarted": (N_("Restarted"), N_("Memory is lost; what is on disk stays.")),
}
"""Of each verdict its heading and what it means, the worst first."""


@dataclass(frozen=True)
class Word:
    """A word and how it is coloured: a style class of libadwaita, or none."""

    text: str
    style: str = ""


@dataclass(frozen=True)
class Row:
    """One line of a list."""

    id: str
    title: str
    subtitle: str = ""
    words: tuple[Word, ...] = ()


@dataclass(frozen=True)
class KernelRow(Row):
    facts: tuple[tuple[str, str], ...] = ()
    running: bool = False
    staged: bool = False
    blocked: bool = False
    usable: bool = True


@dataclass(frozen=True)
class WorkloadRow(Row):
    agreeable: bool = False
    """Whether its loss can be agreed to."""
    agreed: bool = False


@dataclass(frozen=True)
class Group:
    title: str
    description: str
    rows: tuple[WorkloadRow, ...]


@dataclass(frozen=True)
class PlanView:
    """Before an update."""

    title: str
    """Empty when there is no kernel to go to."""
    facts: tuple[tuple[str, str], ...]
    blockers: tuple[str, ...]
    groups: tuple[Group, ...]
    ordinary: tuple[WorkloadRow, ...]
    """Services that every boot brings back."""
    candidates: tuple[Row, ...]
    question: str
    """What is to be agreed to before it begins."""


@dataclass(frozen=True)
class SessionView:
    """After an update."""

    title: str
    state: Word
    reason: str
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    workloads: tuple[Row, ...]
    """Those that did not come to what was promised first."""
    phases: tuple[Row, ...]


@dataclass(frozen=True)
class JobView:
    """During an update."""

    title: str
    step: str
    progress: float
    cancellable: bool


def word(name: str) -> Word:
    """A verdict, outcome or state; one of a newer daemon is shown as it came."""
    return Word(_(_WORDS[name]) if name in _WORDS else plain(name), _STYLES.get(name, ""))


def counts(found: Mapping[str, int]) -> str:
    """``Carried: 3, Restarted: 1``."""
    order = {name: place for place, name in enumerate(_WORDS)}
    names = sorted((name for name in found if found[name]), key=lambda n: order.get(n, 99))
    return ", ".join(f"{word(name).text}: {found[name]}" for name in names)


def moment(us: int) -> str:
    """`us` since the epoch, in local time as people here write it."""
    return datetime.datetime.fromtimestamp(us / 1e6).astimezone().strftime("%x %H:%M")


# --- kernels ---


def kernel_rows(kernels: Sequence[Kernel]) -> tuple[KernelRow, ...]:
    """Newest first, as they came."""
    return tuple(_kernel(kernel) for kernel in kernels)


def _kernel(kernel: Kernel) -> KernelRow:
    marks = [
        name
        for name, applies in (
            ("running", kernel["running"]),
            ("staged", kernel["staged"]),
            ("blocked", kernel["blocked"]),
        )
        if applies
    ]
    facts = [
        (_("Name"), kernel["id"]),
        (_("Image"), kernel["image"]),
        (_("Initial RAM disks"), "\n".join(kernel["initrds"])),
        (_("Command line"), kernel["command_line"]),
        (_("Found by"), kernel["source"]),
    ]
    return KernelRow(
        id=kernel["id"],
        title=plain(kernel["release"]),
        subtitle="; ".join(map(_sentence, kernel["problems"])) or plain(kernel["image"]),
        words=tuple(word(name) for name in marks),
        facts=tuple((name, text) for name, text in facts if text),
        running=kernel["running"],
        staged=kernel["staged"],
        blocked=kernel["blocked"],
        usable=not kernel["problems"] and not kernel["blocked"],
    )


# --- before ---


def plan_view(plan: Plan, agreed: Collection[str] = ()) -> PlanView:
    """The plan, with the workloads whose loss was agreed to."""
    usual = [w for w in plan["workloads"] if ordinary(w) and w["id"] not in agreed]
    shown = [w for w in plan["workloads"] if w not in usual]
    known = {name: [w for w in shown if w["verdict"] == name] for name in _GROUPS}
    other = [w for w in shown if w["verdict"] not in _GROUPS]
    groups = [
        Group(_(title), _(text), tuple(_workload(w, agreed) for w in known[name]))
        for name, (title, text) in _GROUPS.items()
        if known[name]
    ]
    if other:
        groups.append(Group(_("Others"), "", tuple(_workload(w, agreed) for w in other)))
    found = Counter(w["verdict"] for w in plan["workloads"])
    facts = [
        (_("Predicted blackout"), duration(plan["blackout_us"])),
        (
            _("To be saved"),
            _("{size}, {free} free").format(
                size=size(plan["bytes"]), free=size(plan["free_bytes"])
            ),
        ),
        (_("Saved to"), _said(plan["carrier"], plan["carrier_reason"])),
        (_("Workloads"), counts(found)),
        (_("Why this way"), _sentence(plan["rung_reason"])),
    ]
    return PlanView(
        title=plain(plan["release"]) if plan["kernel"] else "",
        facts=tuple((name, text) for name, text in facts if text),
        blockers=tuple(map(plain, plan["blockers"])),
        groups=tuple(groups),
        ordinary=tuple(_workload(w, ()) for w in usual),
        candidates=tuple(
            Row(c["name"], plain(c["name"]), plain(c["why"])) for c in plan["candidates"]
        ),
        question=_question(plan, found),
    )


def _workload(workload: Workload, agreed: Collection[str]) -> WorkloadRow:
    costs = [size(workload["bytes"])] if workload["bytes"] else []
    costs += [duration(workload["cost_us"])] if workload["cost_us"] else []
    is_agreed = workload["id"] in agreed
    return WorkloadRow(
        id=workload["id"],
        title=plain(workload["name"]),
        subtitle=_sentence(workload["reason"]),
        words=(*(Word(cost, "dim-label") for cost in costs), word(workload["verdict"])),
        agreeable=is_agreed or workload["verdict"] in ("blocks", "lost"),
        agreed=is_agreed,
    )


def _question(plan: Plan, found: Mapping[str, int]) -> str:
    parts = [
        _("Programs stand still for about {time}.").format(time=duration(plan["blackout_us"])),
        ngettext(
            "{count} workload is carried with its memory.",
            "{count} workloads are carried with their memory.",
            found.get("carried", 0),
        ).format(count=found.get("carried", 0)),
    ]
    if again := found.get("restarted", 0):
        parts.append(
            ngettext(
                "{count} starts again and loses its memory.",
                "{count} start again and lose their memory.",
                again,
            ).format(count=again)
        )
    if lost := found.get("lost", 0):
        parts.append(ngettext("{count} is lost.", "{count} are lost.", lost).format(count=lost))
    return " ".join(parts)


# --- during ---


def job_view(job: Properties) -> JobView:
    """A job's properties."""
    kind = job["Kind"]
    return JobView(
        title=_(_JOBS[kind]) if kind in _JOBS else plain(kind),
        step=plain(job["Step"]),
        progress=job["Progress"],
        cancellable=job["Cancellable"],
    )


# --- after ---


def session_rows(sessions: Sequence[Session]) -> tuple[Row, ...]:
    """Newest first, as they came."""
    return tuple(_session(session) for session in sessions)


def _session(session: Session) -> Row:
    about = [moment(session["created_us"]), _road(session["road"])]
    if session["blackout_us"]:
        about.append(_("blackout {time}").format(time=duration(session["blackout_us"])))
    if ends := counts(session["outcomes"]):
        about.append(ends)
    return Row(
        id=session["id"],
        title=plain(way(session)),
        subtitle=" · ".join(about),
        words=(word(session["state"]),),
    )


def session_view(session: SessionDetail, timeline: Timeline) -> SessionView:
    """What became of one session and of each of its workloads."""
    facts = [
        (_("Begun"), f"{moment(session['created_us'])}, {_road(session['road'])}"),
        (_("Blackout"), _blackout(session)),
        (_("Workloads"), counts(session["outcomes"])),
    ]
    rows = sorted(session["workloads"], key=lambda w: (not _disappoints(w), ordinary(w)))
    return SessionView(
        title=plain(way(session)),
        state=word(session["state"]),
        reason=plain(session["reason"]),
        facts=tuple((name, text) for name, text in facts if text),
        notes=tuple(map(plain, [*session["notes"], *timeline["notes"]])),
        workloads=tuple(_outcome(row) for row in rows),
        phases=tuple(
            _phase(phase) for phase in nested(timeline["phases"]) if not phase["workload"]
        ),
    )


def _blackout(session: Session) -> str:
    if not session["blackout_us"]:
        return ""
    return _("{time}, {predicted} predicted").format(
        time=duration(session["blackout_us"]), predicted=duration(session["predicted_blackout_us"])
    )


def _disappoints(workload: SessionWorkload) -> bool:
    return bool(workload["outcome"]) and workload["outcome"] != workload["verdict"]


def _outcome(workload: SessionWorkload) -> Row:
    end = word(workload["outcome"]) if workload["outcome"] else Word(_("No outcome"))
    frozen = [Word(duration(workload["frozen_us"]), "dim-label")] if workload["frozen_us"] else []
    return Row(
        id=workload["id"],
        title=plain(workload["name"]),
        subtitle=_sentence(workload["outcome_reason"] or workload["reason"]),
        words=(*frozen, end),
    )


def _phase(phase: Phase) -> Row:
    owner, slash, part = phase["name"].partition("/")
    return Row(
        id=phase["name"],
        title=plain(f"{owner}: {part}" if slash else owner),
        words=(Word(duration(phase["duration_us"]), "dim-label"),),
    )


def _road(road: str) -> str:
    return _(_ROADS[road]) if road in _ROADS else plain(road)


# --- schedule ---


def next_update(manager: Properties) -> str:
    """When the schedule elapses next; empty without one."""
    return moment(manager["NextUpdate"]) if manager["NextUpdate"] else ""


def presets() -> tuple[tuple[str, str], ...]:
    """Schedules that many want: words and calendar expression (systemd.time(7))."""
    return (
        (_("Every night"), "*-*-* 03:00"),
        (_("Sunday night"), "Sun *-*-* 03:00"),
        (_("First of the month"), "*-*-01 03:00"),
    )


def _said(name: str, why: str) -> str:
    return plain(f"{name}: {why}" if why else name)


def _sentence(text: str) -> str:
    text = plain(text)
    return text[:1].upper() + text[1:]
