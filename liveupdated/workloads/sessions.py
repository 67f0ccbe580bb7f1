# SPDX-License-Identifier: LGPL-2.1-or-later
"""User sessions: who is logged in, what runs in users' managers, what is open on their desktops.

A lingering user's units that were started by hand are started again in his manager, which starts
with the boot.  Everybody else's end with the login.  Desktop applications are left for the user's
next graphical session to open.  No memory is carried here.
"""

import re
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from liveupdated import byhand, cgroup, systemd, unitwatch
from liveupdated.errors import LiveUpdateError, ServiceError
from liveupdated.session import Json, Outcome, Verdict, Workload
from liveupdated.users import App, Look, Unit, User, ask, desktop, logins, reopen
from liveupdated.workloads import Marker, Result

if TYPE_CHECKING:
    from liveupdated.host import Host

KIND = "sessions"
RULE = None
LOOK_LIMIT_S = 60.0
START_LIMIT_S = 400.0
"""More than a user's agent itself waits for the bus and for the unit."""
OPEN_LIMIT_S = 60.0
LOOKS_AT_ONCE = 8
UNIT_VERDICTS = {Verdict.RESTARTED, Verdict.LOST, Verdict.BLOCKS}
UNIT_NAME = re.compile(r"[A-Za-z0-9:_.\\@-]{1,255}")
"""systemd.unit(5).  Without a slash: only logins have one in their names here."""

_watch = unitwatch.Watch()


# --- find ---


def find(host: "Host") -> Iterable[Workload]:
    """Every login, every user manager, and what runs in it by somebody's hand."""
    if not logind_runs(host):
        return
    sessions = logins.sessions()
    yield from (_login(session) for session in sessions if logins.is_login(session))
    users = logins.managers(host.units, sessions)
    with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
        for user, seen in zip(users, pool.map(_look, users), strict=True):
            yield from _in_manager(host, user, seen)
    open_now = {user.uid for user in users}
    for uid, apps in reopen.waiting().items():
        if uid not in open_now:
            yield from (_still_waits(logins.account(uid), app) for app in apps)


def logind_runs(host: "Host") -> bool:
    logind = host.units.get("systemd-logind.service", {})
    return logind.get("ActiveState") == "active"


def _workload(name: str, verdict: Verdict, reason: str, facts: dict[str, Json]) -> Workload:
    return Workload(f"{KIND}:{name}", KIND, name, verdict, reason, facts=facts)


def _login(session: systemd.Properties) -> Workload:
    """A person at a terminal: no jump leaves that, as no reboot does."""
    name = f"{session.get('Name')}/{session.get('Id')}"
    where = session.get("TTY") or session.get("Display") or session.get("Service") or "no terminal"
    if session.get("Seat"):
        where += f" of {session['Seat']}"
    if session.get("Remote") == "yes":
        where += f" from {session.get('RemoteHost') or 'another host'}"
    reason = (
        f"logged in on {where}, {_idle(session)}: a login ends with any boot; what runs in it is "
        "listed by itself"
    )
    return _workload(name, Verdict.LOST, reason, {"login": True})


def _idle(session: systemd.Properties) -> str:
    since_us = int(session.get("IdleSinceHint") or 0)
    if session.get("IdleHint") != "yes" or not since_us:
        return "not idle"
    return f"idle for {max(0, time.time_ns() // 1000 - since_us) // 60_000_000} min"


def _look(user: User) -> Look | ServiceError:
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415  not on the restore path

    try:
        said = ask.ask(user, "look", None, LOOK_LIMIT_S)
        look = TypeAdapter(Look).validate_python(said)
        if not {unit.verdict for unit in look.units} <= UNIT_VERDICTS:
            raise ValueError("its units have verdicts that none has")
        names = [unit.name for unit in look.units] + look.stopped + look.starts + look.others
        if not all(map(UNIT_NAME.fullmatch, names)):
            raise ValueError("its units have names that no unit has")
        if not all(map(desktop.is_id, [*(app.id for app in look.apps), *look.unwanted])):
            raise ValueError("its applications have names that none has")
    except (ValidationError, ValueError) as error:
        return ServiceError(f"the user manager of {user.name} cannot be worked with", str(error))
    except ServiceError as error:
        return error
    return look


def _in_manager(host: "Host", user: User, seen: Look | ServiceError) -> Iterator[Workload]:
    facts: dict[str, Json] = {"uid": user.uid, "user": user.name}
    manager = f"unit:user@{user.uid}.service"
    if isinstance(seen, ServiceError):
        reason = f"{seen}: what runs there is not known; `loginctl terminate-user` would end it"
        yield _workload(user.name, Verdict.LOST, reason, {})
        return
    row = _manager(user, seen, facts)
    row.provides = [manager]
    yield row
    for unit in seen.units:
        if not _spoken_for(host, user, [unit.cgroup]):
            yield _unit(user, unit, facts | {"unit": unit.name, **unit.facts}, manager)
    for name in seen.stopped if user.linger else ():
        stopped = {"unit": name, "stopped": True}
        yield _needing(
            manager,
            _workload(
                f"{user.name}:{name}",
                Verdict.CARRIED,
                "stopped by hand: stays stopped",
                facts | stopped,
            ),
        )
    waiting = reopen.waiting().get(user.uid, [])
    yield from (_still_waits(user, app) for app in waiting)
    for place, app in enumerate(seen.apps):
        if app.id not in waiting and not _spoken_for(host, user, app.cgroups):
            yield _app(user, app, place)


def _manager(user: User, seen: Look, facts: dict[str, Json]) -> Workload:
    if user.linger:
        how, facts = "starts with the boot (linger)", facts | {"starts": seen.starts}
    else:
        how, facts = "starts when its user logs in again", facts | {"starts": None}
    running = sorted([*seen.starts, *seen.others])
    reason = f"a user manager, which {how}"
    if running:
        reason += f"; what comes with it loses its memory: {', '.join(running)}"
    if seen.unwanted:
        reason += f"; not opened again, as {user.name} wishes: {', '.join(seen.unwanted)}"
    if seen.problem:
        reason += f"; what {user.name} wishes to be opened again is not heeded: {seen.problem}"
    return _workload(user.name, Verdict.RESTARTED, reason, facts)


def _unit(user: User, unit: Unit, facts: dict[str, Json], manager: str) -> Workload:
    verdict, reason = Verdict(unit.verdict), unit.reason
    if verdict is Verdict.RESTARTED and not user.linger:
        verdict = Verdict.LOST
        reason = (
            f"it ends with the login of {user.name}, and nothing starts it again; it would be "
            f"started again after `loginctl enable-linger {user.name}`"
        )
    return _needing(manager, _workload(f"{user.name}:{unit.name}", verdict, reason, facts))


def _needing(manager: str, workload: Workload) -> Workload:
    workload.needs = [manager]
    return workload


def _app(user: User, app: App, place: int) -> Workload:
    reason = (
        f"opened again, empty, in the next graphical session of {user.name}; what is not saved in "
        "it is lost"
    )
    facts = _app_facts(user, app.id) | {"place": place}
    return _workload(f"{user.name}:{app.id}", Verdict.REOPENED, reason, facts)


def _still_waits(user: User, app: str) -> Workload:
    reason = f"it waits for {user.name} to log in since an earlier jump, and goes on waiting"
    return _workload(f"{user.name}:{app}", Verdict.REOPENED, reason, _app_facts(user, app))


def _app_facts(user: User, app: str) -> dict[str, Json]:
    return {"uid": user.uid, "user": user.name, "app": app}


def _spoken_for(host: "Host", user: User, cgroups: Iterable[str]) -> bool:
    """Whether all processes there are somebody else's to bring back; else they are ours now."""
    within = f"/user.slice/user-{user.uid}.slice/user@{user.uid}.service/"
    pids = {
        pid
        for each in cgroups
        if each.startswith(within) and ".." not in each.split("/")
        for pid in cgroup.pids(cgroup.folder(each))
    }
    if pids and pids <= host.spoken_for_pids:
        return True
    host.spoken_for_pids.update(pids)
    return False


# --- save: nothing is frozen here ---


def hold_files(workload: Workload) -> dict[str, str]:
    return {}


def save(workload: Workload, artifacts: Path, mark: Marker) -> None:
    """Look again whether a unit still runs, and what is left of its time."""
    workload.saved = {}
    facts = workload.facts
    if "files" not in facts:
        return
    files = facts["files"]
    question = {"name": facts["unit"], "facts": _startable(facts)}
    try:
        said = ask.ask(_user(facts), "again", question, LOOK_LIMIT_S)
        workload.saved = {"ended": bool(said["saved"]["ended"])}
        workload.facts = {**facts, **said["facts"], "files": files}
    except (LiveUpdateError, KeyError, TypeError):
        # A user's manager is no reason to call the update off; what `find` saw is still right.
        return


def _startable(facts: dict[str, Json]) -> dict[str, Json]:
    return {key: facts[key] for key in ("files", "timer") if key in facts}


def _user(facts: dict[str, Json]) -> User:
    """Raises ServiceError when the user is not who it was."""
    user = logins.account(facts["uid"])
    if user.name != facts["user"]:
        raise ServiceError(f"the user id {user.uid} is not {facts['user']}'s any more")
    return user


def commit(workload: Workload) -> None:
    """The shutdown ends it like any login."""


def resume(workload: Workload, artifacts: Path) -> None:
    """It was never frozen."""


# --- restore ---


def boot_files(workload: Workload, artifacts: Path) -> dict[str, str]:
    return {}


def prepare(workload: Workload, artifacts: Path) -> None:
    """Users' managers start late in the boot: `restore` waits for them."""


def restore(workload: Workload, artifacts: Path, mark: Marker) -> Result:
    return restart(workload)


def restart(workload: Workload) -> Result:
    try:
        user = _user(workload.facts)
        if "app" in workload.facts:
            return _reopen(user, workload.facts["app"], workload.facts.get("place"))
        if "unit" in workload.facts:
            return _bring_back(user, workload)
        return _with_manager(user, workload.facts["starts"])
    except (LiveUpdateError, OSError) as error:
        return Result(Outcome.FAILED, str(error))


def settle() -> None:
    """Nothing was held."""


def _with_manager(user: User, starts: list[str] | None) -> Result:
    """Wait for what starts with the user's manager; `starts` is None when that waits for him."""
    if starts is None:
        return Result(Outcome.RESTARTED, f"when {user.name} logs in again")
    _await_manager(user)
    if not starts:
        return Result(Outcome.RESTARTED)
    said = ask.ask(user, "await", {"names": starts}, START_LIMIT_S)
    short = [
        f"{name}: {reason}"
        for name in starts
        for outcome, reason in [_result(said.get(name))]
        if outcome is Outcome.FAILED
    ]
    return Result(Outcome.FAILED, "; ".join(short)) if short else Result(Outcome.RESTARTED)


def _await_manager(user: User) -> None:
    """Raises ServiceError when it does not come up."""
    name = f"user@{user.uid}.service"
    unit = _watch.until(
        name,
        lambda unit: unitwatch.runs(unit) or unit.get("ActiveState") == "failed",
        byhand.START_LIMIT_S,
    )
    if not unitwatch.runs(unit):
        raise ServiceError(f"the user manager of {user.name} is {unit.get('ActiveState')}")


def _bring_back(user: User, workload: Workload) -> Result:
    facts = workload.facts
    _await_manager(user)
    if facts.get("stopped"):
        said = ask.ask(user, "stop", {"name": facts["unit"]}, START_LIMIT_S)
    else:
        question = {
            "name": facts["unit"],
            "facts": _startable(facts),
            "saved": workload.saved,
        }
        said = ask.ask(user, "start", question, START_LIMIT_S)
    return Result(*_result(said))


def _result(said: Json) -> tuple[Outcome, str]:
    """What an agent says of a unit."""
    try:
        outcome, reason = said
        return Outcome(outcome), str(reason)
    except (TypeError, ValueError):
        return Outcome.FAILED, "its user's manager said nothing that can be used"


def _reopen(user: User, app: str, place: int | None) -> Result:
    """Leave it for the user's session, and see it taken if he is there already."""
    reopen.put(user, app, place)
    _await_boot()
    if not any(
        session.get("User") == str(user.uid) and logins.is_graphical(session)
        for session in logins.sessions()
    ):
        return Result(Outcome.REOPENED, f"when {user.name} logs in again")
    end = time.monotonic() + OPEN_LIMIT_S
    while reopen.waits(user, app):
        if time.monotonic() > end:
            why = "does not start graphical-session.target, or has not yet"
            return Result(Outcome.FAILED, f"{user.name} is logged in, but his session {why}")
        time.sleep(0.5)
    return Result(Outcome.REOPENED)


def _await_boot() -> None:
    """Until whoever is logged in by the boot itself is logged in."""
    end = time.monotonic() + byhand.START_LIMIT_S
    while time.monotonic() < end:
        if systemd.show_one("default.target", "ActiveState").get("ActiveState") == "active":
            return
        time.sleep(0.5)
