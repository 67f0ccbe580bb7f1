# SPDX-License-Identifier: LGPL-2.1-or-later
"""Hooks: workloads that an administrator declares, with the commands that save and restore them.

Each command runs as the user that the rule names, in a transient unit of its own
(`liveupdated.hook`), so that systemd holds it to its limit and ends what it leaves behind.  What a
save writes goes into a folder that only that user can write, and is vouched for by digest.
"""

import os
import pwd
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from liveupdated import hook, timers
from liveupdated.errors import LiveUpdateError, RestoreFailed, SaveFailed
from liveupdated.session import Outcome, Verdict, Workload
from liveupdated.timeline.marks import FROZEN, RUNNING, SAVED
from liveupdated.workloads import Marker, Result

if TYPE_CHECKING:
    from liveupdated.host import Host

KIND = "hooks"
STATE = "state"
"""Below the artifacts: the folder of the commands."""
SIDE_BY_SIDE = 8

STEPS = ("find", "save", "commit", "resume", "restore", "restart")
LIMIT = "30s"
# The units in which we ask have limits of their own: several minutes for all finds, and for all
# commits; the health check waits ten minutes for a restore (`update.health.RESTORE_LIMIT_S`).
LONGEST_S = {"find": 60, "commit": 60}
LONGEST_ELSE_S = 300
WORDS = ("unit", "path", "link", "device", "address", "module", "cgroup", "container", "hoststate")
"""What may stand before the colon in `needs` and `provides`; and `hugepages`."""


@dataclass(frozen=True)
class HookRule:
    """What `workloads.d` can say to declare a workload of its own."""

    hook: str
    """Its name."""
    user: str
    """Whom the commands run as."""
    restore: list[str]
    """Brings it back after the jump; like all commands a path and arguments, and no shell."""
    find: list[str] = field(default_factory=list)
    """Tells whether it is there, in JSON; without it, it always is."""
    save: list[str] = field(default_factory=list)
    """Writes its state into the folder; as `verdict` says, it stands still from then on."""
    commit: list[str] = field(default_factory=list)
    """Ends what is saved: the jump is next."""
    resume: list[str] = field(default_factory=list)
    """There is no jump after all: it runs on.  Also after half a save, and after `commit`."""
    restart: list[str] = field(default_factory=list)
    """Starts it afresh where its saved state is lost."""
    limit: str | dict[str, str] = LIMIT
    """Time span that each command may take; or one each, by the command's key."""
    verdict: Literal["carried", "restarted"] = "restarted"
    """What the commands promise."""
    needs: list[str] = field(default_factory=list)
    """What has to be there before `restore`, as `unit:NAME`, `path:FOLDER`, `address:IP`."""
    provides: list[str] = field(default_factory=list)
    """What others may need of it.  Units that it provides are its to bring back."""
    source: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError for what cannot be meant."""
        if self.save and not self.resume:
            raise ValueError("a workload with `save` needs `resume` too")
        if self.verdict == "carried" and not self.save:
            raise ValueError("a workload without `save` cannot be carried")
        for step in STEPS:
            command = getattr(self, step)
            if command and not command[0].startswith("/"):
                raise ValueError(f"{step}: {command[0]} is no absolute path")
            self.limit_s(step)
        for word in (*self.needs, *self.provides):
            if word != "hugepages" and word.partition(":")[0] not in WORDS:
                raise ValueError(f"{word} does not begin with one of {', '.join(WORDS)}")

    def limit_s(self, step: str) -> float:
        """How long the command may take."""
        if isinstance(self.limit, dict) and (unknown := self.limit.keys() - set(STEPS)):
            raise ValueError(f"limit: there is no command {', '.join(unknown)}")
        text = self.limit.get(step, LIMIT) if isinstance(self.limit, dict) else self.limit
        longest = LONGEST_S.get(step, LONGEST_ELSE_S)
        try:
            limit_s = timers.span_us(text) / 1e6
        except KeyError:
            limit_s = 0
        if limit_s <= 0:
            raise ValueError(f"limit: {text} is no time span (30s, 2min)")
        # One for all is meant for the longest of them.
        allowed = longest if isinstance(self.limit, dict) else LONGEST_ELSE_S
        if limit_s > allowed:
            raise ValueError(f"limit: {step} may take {allowed} s at most, not {text}")
        return min(limit_s, longest)


RULE = HookRule


# --- find ---


def find(host: "Host") -> Iterable[Workload]:
    """Every declared workload that is there."""
    rules = {rule.hook: rule for rule in host.rules if isinstance(rule, HookRule)}
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        found = list(pool.map(_ask, rules.values()))
    for workload in found:
        if workload:
            units = [word for word in workload.provides if word.startswith("unit:")]
            host.spoken_for.update(word.removeprefix("unit:") for word in units)
            yield workload


def _ask(rule: HookRule) -> Workload | None:
    workload = Workload(
        id=f"{KIND}:{rule.hook}",
        kind=KIND,
        name=rule.hook,
        verdict=Verdict.BLOCKS,
        reason="",
        source=rule.source,
        provides=rule.provides,
        needs=rule.needs,
        facts={
            "user": rule.user,
            "commands": {step: getattr(rule, step) for step in STEPS if getattr(rule, step)},
            "limits_s": {step: rule.limit_s(step) for step in STEPS},
        },
    )
    try:
        for command in workload.facts["commands"].values():
            hook.check(command, rule.user)
        answer = hook.read_answer(_run(workload, "find").stdout)
    except LiveUpdateError as error:
        workload.reason = f"{rule.source} declares it, but {error}"
        workload.facts["unheard"] = True
        return workload
    if not answer.present:
        return None
    workload.verdict = Verdict(rule.verdict)
    workload.reason = answer.reason or f"by its own commands, as {rule.source} says"
    workload.bytes = answer.bytes
    return workload


def _run(workload: Workload, step: str, artifacts: Path | None = None) -> hook.Done:
    """Run a command of its, or none when it has none.  Raises HookFailed."""
    facts = workload.facts
    command = facts["commands"].get(step)
    if not command:
        return hook.Done("", "")
    return hook.run(
        workload.name,
        step,
        command,
        facts["user"],
        facts["limits_s"][step],
        state=artifacts / STATE if artifacts else None,
        session=artifacts.parent.name if artifacts else "",
        needs=workload.needs if step in ("restore", "restart") else (),
    )


# --- save, and undoing it ---


def hold_files(workload: Workload) -> dict[str, str]:
    return {}


def save(workload: Workload, artifacts: Path, mark: Marker) -> None:
    if workload.facts.get("unheard"):  # its loss was agreed to
        return
    state = artifacts / STATE
    state.mkdir(mode=0o700)
    user = pwd.getpwnam(workload.facts["user"])
    os.chown(state, user.pw_uid, user.pw_gid)
    mark(FROZEN)
    try:
        _run(workload, "save", artifacts)
    except LiveUpdateError as error:
        raise SaveFailed(f"{workload.name} could not be saved", str(error)) from error
    workload.saved = {"digest": hook.digest(state)}
    workload.bytes = sum(path.lstat().st_size for path in hook.files(state))
    mark(SAVED)


def commit(workload: Workload) -> None:
    _run(workload, "commit")


def resume(workload: Workload, artifacts: Path) -> None:
    if (artifacts / STATE).is_dir():  # its save was begun
        _run(workload, "resume", artifacts)


# --- restore ---


def boot_files(workload: Workload, artifacts: Path) -> dict[str, str]:
    return {}


def prepare(workload: Workload, artifacts: Path) -> None:
    """Its command needs nothing beforehand."""


def restore(workload: Workload, artifacts: Path, mark: Marker) -> Result:
    if workload.saved is None:
        return _afresh(workload, workload.reason)
    try:
        if hook.digest(artifacts / STATE) != workload.saved["digest"]:
            raise RestoreFailed("its saved state was altered", "it is not as it was saved")
        said = _run(workload, "restore", artifacts).said
    except (LiveUpdateError, OSError) as error:
        return _afresh(workload, str(error))
    mark(RUNNING)
    return Result(Outcome(workload.verdict), said)


def restart(workload: Workload) -> Result:
    return _afresh(workload, "its saved state is lost: the machine did not come by this jump")


def _afresh(workload: Workload, why: str) -> Result:
    if "restart" not in workload.facts["commands"]:
        return Result(Outcome.FAILED, f"{why}; and no command is declared to start it afresh")
    try:
        _run(workload, "restart")
    except LiveUpdateError as error:
        return Result(Outcome.FAILED, f"{why}; and it did not start afresh either: {error}")
    return Result(Outcome.RESTARTED, f"{why}; started afresh")


def settle() -> None:
    """Nothing was held."""
