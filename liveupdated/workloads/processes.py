# SPDX-License-Identifier: LGPL-2.1-or-later
"""Processes outside services: jobs of sessions, tmux and screen, children of cron and at.

What a rule declares is carried by CRIU, the whole tree, or started again as what it was.  Save
moves the tree into a cgroup of its own, below the one that it is in, and freezes it there.  After
the jump a unit of ours restores it, and it lives on in that unit.  What no rule names is lost, and
named.
"""

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from liveupdated import cgroup, checkpoint, criu, needs, paths, unitrestore
from liveupdated.errors import LiveUpdateError, SaveFailed, ServiceError
from liveupdated.procs import again, look, places, trees, unit, volatile
from liveupdated.procs.rules import ProcessRule
from liveupdated.session import Json, Outcome, Verdict, Workload
from liveupdated.timeline.marks import FROZEN, RUNNING, SAVED
from liveupdated.workloads import Marker, Result

if TYPE_CHECKING:
    from liveupdated.host import Host

KIND = "processes"
RULE = ProcessRule
GROUP = "liveupdated-carried"
"""The cgroup that a tree is frozen in, below its own."""
GONE_LIMIT_S = 10.0
GATHER_LIMIT_S = 60.0
WAY_OUT = (
    'way out: declare it (`liveupdatectl carry NAME`, or a rule with process = "..."), '
    "end it, or agree to its loss (--accept-loss)"
)

LINGER = Path("/var/lib/systemd/linger")
"""A file for each user that lingers (systemd-logind.service(8))."""
LAST_SYSTEM_UID = 999
"""SYSTEM_UID_MAX of Debian, Fedora and Arch (login.defs(5)): logind leaves those alone."""
REMOVED_AT_LOGOUT = (
    "logind removes the name of its shared memory when {user} logs out next "
    "(way out: RemoveIPC=no in logind.conf, or loginctl enable-linger {user})"
)


# --- find ---


def find(host: "Host") -> Iterable[Workload]:
    """The trees that a rule names, and what nobody named, a row for each user's program."""
    processes = look.processes()
    mains = places.mains(host.units).keys()
    seen = trees.find(processes, host.rules, trees.login_shells(), host.spoken_for_pids, mains)
    for tree in [*(tree for tree, _ in seen.declared), *seen.others]:
        host.spoken_for_pids.update(tree.pids)
    host.spoken_for.update(name for name in host.units if name.startswith(places.OWN))
    found = [_declared(name, tree, rule, processes) for name, tree, rule in _named(seen.declared)]
    return [*found, *_undeclared(seen.others, processes)]


def _named(
    declared: Iterable[tuple[trees.Tree, ProcessRule]],
) -> Iterator[tuple[str, trees.Tree, ProcessRule]]:
    """`USER/LABEL`, and with the pid where there are several: what is carried keeps it."""
    found = [(f"{tree.root.user}/{tree.root.label}", tree, rule) for tree, rule in declared]
    number = Counter(name for name, _, _ in found)
    for name, tree, rule in found:
        yield (f"{name}-{tree.root.pid}" if number[name] > 1 else name), tree, rule


def _declared(
    name: str, tree: trees.Tree, rule: ProcessRule, processes: dict[int, look.Process]
) -> Workload:
    root, pids = tree.root, list(tree.pids)
    workload = Workload(
        id=f"{KIND}:{name}",
        kind=KIND,
        name=name,
        verdict=Verdict.BLOCKS,
        reason="",
        source=rule.source,
        facts={"pid": root.pid, "start": root.start, "cgroup": root.cgroup, "how": rule.carry},
        starts_afresh=False,
    )
    try:
        fresh = again.obstacles(root.pid)
        found = fresh if rule.carry == "restart" else criu.obstacles(root.pid, pids)
        workload.needs = [criu.KERNEL] if rule.carry == "memory" else []
        workload.needs += needs.of_processes(pids)
        if places.by_hand(root.cgroup):
            workload.needs.append(f"cgroup:{root.cgroup}")
        if rule.carry == "memory" and not found:
            kept = volatile.files(pids)
            workload.bytes = checkpoint.memory_bytes(pids) + volatile.size(kept)
            about_tcp = checkpoint.tcp_sentence(pids)
    except (LiveUpdateError, OSError) as error:
        fresh, found = [str(error)], [str(error)]
    workload.starts_afresh = not fresh and "restart" in (rule.carry, rule.fallback)
    workload.facts["fresh"] = workload.starts_afresh
    what = f"process {root.pid} ({root.command})"
    if len(pids) > 1:
        what += f" with {len(pids) - 1} below it"
    if found:
        way = "carried" if rule.carry == "memory" else "started again"
        workload.reason = f"{what} is to be {way}, but {'; '.join(found)}"
    elif rule.carry == "restart":
        workload.verdict = Verdict.RESTARTED
        workload.reason = f"{what} is started again as {root.user}, as {rule.source} says"
    else:
        workload.verdict = Verdict.CARRIED
        workload.reason = f"{what}: memory carried by CRIU, as {rule.source} says; {about_tcp}"
        if trees.waiter(processes, root):
            workload.reason += f"; {places.unit_of(root.cgroup)} will not mail its output"
        if _logind_removes(root, kept):
            workload.reason += f"; {REMOVED_AT_LOGOUT.format(user=root.user)}"
        workload.cost_us = checkpoint.FIXED_COST_US + workload.bytes // checkpoint.BYTES_PER_US
    return workload


def _logind_removes(root: look.Process, kept: Sequence[str]) -> bool:
    """Whether logind takes its shared memory for a leftover, as it comes back in no session
    (logind.conf(5), RemoveIPC=, on by default)."""
    shared = any(f"/{path}".startswith(volatile.SHARED) for path in kept)
    return shared and root.uid > LAST_SYSTEM_UID and not (LINGER / root.user).exists()


def _undeclared(
    others: Iterable[trees.Tree], processes: dict[int, look.Process]
) -> Iterator[Workload]:
    groups: dict[tuple[str, str], list[trees.Tree]] = {}
    for tree in others:
        groups.setdefault((tree.root.user, tree.root.label), []).append(tree)
    for (user, label), group in groups.items():
        pids = {pid for tree in group for pid in tree.pids}
        root = group[0].root
        where = places.unit_of(root.cgroup) or root.cgroup
        reason = f"{_count(len(pids))} that no rule names: {root.command} ({root.pid}, in {where})"
        if len(group) > 1:
            reason += f" and {len(group) - 1} more of {label}"
        below = sorted({processes[pid].label for pid in pids if pid in processes} - {label})
        if below:
            reason += f", with {', '.join(below[:5])}{' and others' if below[5:] else ''} below"
        yield Workload(
            id=f"{KIND}:{user}/{label}",
            kind=KIND,
            name=f"{user}/{label}",
            verdict=Verdict.LOST,
            reason=f"{reason} ({WAY_OUT})",
            declaration=_declaration(root),
        )


def _declaration(root: look.Process) -> dict[str, str]:
    """A rule that names this program of this user; of an interpreter's, this script."""
    found = {"process": root.exe.removesuffix(look.DELETED), "user": root.user}
    return found if root.label == root.program else {**found, "arguments": " ".join(root.argv)}


def _count(number: int) -> str:
    return "1 process" if number == 1 else f"{number} processes"


# --- save, and undoing it ---


def hold_files(workload: Workload) -> dict[str, str]:
    return {}


def save(workload: Workload, artifacts: Path, mark: Marker) -> None:
    root = look.one(workload.facts["pid"])
    if root is None or root.start != workload.facts["start"]:
        if workload.verdict is Verdict.CARRIED:
            raise SaveFailed(f"{workload.name} has come to its end", "", "plan again")
        workload.saved = {"ended": True}
        return
    saved: dict[str, Json] = {}
    if workload.facts["fresh"]:
        saved["again"] = again.save(root.pid, artifacts)
    if workload.verdict is Verdict.CARRIED:
        saved |= _freeze(workload, root, artifacts, mark)
        waiter = trees.waiter(look.processes(), root)
        saved["waiter"] = [waiter.pid, waiter.start] if waiter else []
    saved |= {"user": root.user, "label": root.label}
    saved["slice"] = places.slice_of(root.cgroup)
    saved["origin"] = places.origin(root.cgroup)
    saved["cgroup"] = root.cgroup if places.by_hand(root.cgroup) else ""
    workload.saved = saved


def _freeze(
    workload: Workload, root: look.Process, artifacts: Path, mark: Marker
) -> dict[str, Json]:
    pids = look.living_tree(root.pid)
    if found := criu.obstacles(root.pid, pids):
        raise SaveFailed(f"{workload.name} cannot be carried", "; ".join(found))
    group = _group(workload)
    try:
        pids = _gather(root.pid, group)
        uids = sorted(volatile.runtime_folders(pids))
        mark(FROZEN)
        saved = checkpoint.take(workload.name, root.pid, group, artifacts, files=volatile.files)
    except (LiveUpdateError, OSError) as error:
        _scatter(workload)
        if isinstance(error, SaveFailed):
            raise
        raise SaveFailed(f"{workload.name} could not be frozen", str(error)) from error
    mark(SAVED)
    workload.bytes = saved["bytes"]
    return {**saved, "runtime_uids": uids}


def _group(workload: Workload) -> Path:
    own = str(workload.facts["cgroup"])
    return cgroup.ROOT / own.strip("/") / f"{GROUP}-{workload.facts['pid']}"


def _gather(root: int, group: Path) -> list[int]:
    """Move the tree into a cgroup of its own: from its root down, so that children that are born
    meanwhile are born there, or found in the next round."""
    group.mkdir(exist_ok=True)
    end = time.monotonic() + GATHER_LIMIT_S
    while True:
        pids = look.living_tree(root)
        missing = set(pids) - set(cgroup.pids(group))
        if not missing:
            return pids
        for pid in (pid for pid in pids if pid in missing):
            with contextlib.suppress(ProcessLookupError):
                (group / "cgroup.procs").write_text(str(pid))
        if time.monotonic() > end:
            raise SaveFailed("its processes could not be gathered", f"{len(missing)} are missing")


def _scatter(workload: Workload) -> None:
    """Thaw the tree, and put all of it where its root was: the scopes of others (tmux has one for
    each of its windows) end when they are left empty."""
    group = _group(workload)
    if not group.is_dir():
        return
    cgroup.thaw(group)
    while pids := cgroup.pids(group):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                (group.parent / "cgroup.procs").write_text(str(pid))
    group.rmdir()


def commit(workload: Workload) -> None:
    if workload.verdict is Verdict.CARRIED and workload.saved and "launch" in workload.saved:
        if workload.saved["waiter"]:
            _end_waiter(*workload.saved["waiter"])
        checkpoint.end(_group(workload), workload.saved)


def _end_waiter(pid: int, start: int) -> None:
    waiter = look.one(pid)
    if waiter and waiter.start == start:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def resume(workload: Workload, artifacts: Path) -> None:
    if workload.verdict is not Verdict.CARRIED:
        return
    group = _group(workload)
    if group.is_dir() and cgroup.pids(group):
        _scatter(workload)
        checkpoint.release(workload.name)
    elif workload.saved and "launch" in workload.saved:
        with contextlib.suppress(OSError):
            group.rmdir()
        _wait_until_gone(workload.facts["pid"])
        paths.CLAIMED.touch(mode=0o600)
        checkpoint.hold(workload.name, workload.saved)
        result = _bring_back(workload, artifacts)
        if result.outcome is not Outcome.CARRIED:
            raise ServiceError(f"{workload.name} could not be resumed", result.reason)


def _wait_until_gone(pid: int) -> None:
    """Its number is free once its parent (a shell, cron) has taken note of its end."""
    end = time.monotonic() + GONE_LIMIT_S
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.02)


# --- restore ---


def boot_files(workload: Workload, artifacts: Path) -> dict[str, str]:
    """None: its unit is one that `restore` writes, since it outlives the session."""
    return {}


def prepare(workload: Workload, artifacts: Path) -> None:
    """Keep the network from answering the peers of its connections."""
    if workload.saved and "launch" in workload.saved:
        checkpoint.hold(workload.name, workload.saved)


def restore(workload: Workload, artifacts: Path, mark: Marker) -> Result:
    saved = workload.saved
    if not saved:
        return Result(Outcome.LOST, workload.reason)
    if "launch" not in saved:
        return _start_again(saved, "")
    result = _bring_back(workload, artifacts)
    mark(RUNNING)
    return result


def _bring_back(workload: Workload, artifacts: Path) -> Result:
    saved = workload.saved or {}
    name = unit.name(artifacts)
    try:
        checkpoint.ready(artifacts, saved["launch"], unitrestore.prepare(name))
        weight = workload.restore_weight
        text = unit.text(_place(saved), unit.CARRY, artifacts, saved["launch"], weight=weight)
        unit.start(name, text)
        if unit.came_back(name):
            unit.move(name, saved["cgroup"])
            return Result(Outcome.CARRIED)
        reason = unit.why(name) or "no error was told"
    except LiveUpdateError as error:
        reason = str(error)
    finally:
        checkpoint.release(workload.name)
    return _start_again(saved, f"its checkpoint could not be restored ({reason})")


def _place(saved: dict[str, Json]) -> unit.Place:
    called = f"{saved['label']} of {saved['user']}"
    return unit.Place(called, saved["slice"], saved["origin"], saved.get("runtime_uids", ()))


def restart(workload: Workload) -> Result:
    if not workload.saved:
        return Result(Outcome.LOST, workload.reason)
    why = "its memory is lost: the machine did not come by this jump"
    if workload.verdict is Verdict.CARRIED and "again" not in workload.saved:
        return Result(Outcome.LOST, why)
    return _start_again(workload.saved, why if workload.verdict is Verdict.CARRIED else "")


def _start_again(saved: dict[str, Json], why: str) -> Result:
    """As what it was, without its memory; `why` that is lost, when it should not have been."""
    if "ended" in saved:
        return Result(Outcome.RESTARTED, "it had come to its end before the jump")
    if "again" not in saved:
        return Result(Outcome.FAILED, f"{why}; nothing starts it again")
    try:
        name, outcome, reason = unit.start_again(_place(saved), saved["again"])
        if outcome is Outcome.RESTARTED:
            unit.move(name, saved["cgroup"])
    except LiveUpdateError as error:
        outcome, reason = Outcome.FAILED, str(error)
    fresh = "started again, its memory is lost" if why and outcome is Outcome.RESTARTED else ""
    return Result(outcome, "; ".join(filter(None, [why, fresh, reason])))


def settle() -> None:
    """Nothing was held."""
