# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who is logged in, and who has a user manager, as logind says (loginctl(1)).

Standard library only: used on the restore path.
"""

import pwd
import re
import subprocess
from collections.abc import Iterable

from liveupdated import bootset
from liveupdated.errors import ServiceError
from liveupdated.systemd import Properties, blocks
from liveupdated.users import User

LIMIT_S = 30.0
SESSION_PROPERTIES = (
    "Id User Name TTY Seat Remote RemoteHost Display Type Class IdleHint IdleSinceHint Timestamp"
).split()
GRAPHICAL_TYPES = ("x11", "wayland", "mir")
_MANAGER = re.compile(r"user@(\d+)\.service")


def sessions() -> list[Properties]:
    """All sessions.  Raises ServiceError."""
    listed = [line.split() for line in _loginctl("list-sessions", "--no-legend").splitlines()]
    ids = [words[0] for words in listed if words]
    return _show("show-session", SESSION_PROPERTIES, ids)


def is_login(session: Properties) -> bool:
    """Whether a person is logged in there, and not a greeter, cron, or the manager itself (the
    classes of sd_session_get_class(3))."""
    return session.get("Class", "").startswith("user")


def is_graphical(session: Properties) -> bool:
    return is_login(session) and session.get("Type") in GRAPHICAL_TYPES


def managers(units: bootset.Units, logged_in: Iterable[Properties]) -> list[User]:
    """Whose manager runs.  Without those that a display manager has for its greeter: they come and
    go with it."""
    uids = [
        int(match[1])
        for name, unit in units.items()
        if (match := _MANAGER.fullmatch(name)) and unit.get("ActiveState") in bootset.RUNNING
    ]
    shown = _show("show-user", ["UID", "Linger"], map(str, uids))
    lingering = {each.get("UID") for each in shown if each.get("Linger") == "yes"}
    greeting = {each.get("User") for each in logged_in if each.get("Class") == "greeter"}
    greeting -= {each.get("User") for each in logged_in if is_login(each)}
    return [
        account(uid, linger=str(uid) in lingering)
        for uid in sorted(uids)
        if str(uid) in lingering or str(uid) not in greeting
    ]


def account(uid: int, *, linger: bool = False) -> User:
    """Raises ServiceError when there is no such user."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError as error:
        raise ServiceError(f"there is no user with the id {uid}") from error
    return User(entry.pw_name, uid, entry.pw_gid, linger)


def _show(verb: str, properties: Iterable[str], names: Iterable[str]) -> list[Properties]:
    names = list(names)
    if not names:
        return []
    return list(blocks(_loginctl(verb, *[f"--property={name}" for name in properties], *names)))


def _loginctl(*words: str) -> str:
    """What it prints.  One that has just gone is an error to loginctl, and none here."""
    try:
        done = subprocess.run(
            ["loginctl", "--no-pager", *words],
            check=False,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise ServiceError("logind does not answer", f"not in {LIMIT_S:.0f} s") from error
    if done.returncode != 0 and not done.stdout:
        raise ServiceError("logind cannot be asked", done.stderr.strip())
    return done.stdout
