# SPDX-License-Identifier: LGPL-2.1-or-later
"""A command that somebody declared: checked, run as its user in a unit of its own, and heard.

Standard library only: used on the restore path.
"""

import hashlib
import json
import os
import pwd
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from liveupdated import paths, systemd, trust, unitfiles
from liveupdated.errors import ServiceError

FOLDER_VARIABLE = "LIVEUPDATE_STATE_FOLDER"
SESSION_VARIABLE = "LIVEUPDATE_SESSION"
WORKLOAD_VARIABLE = "LIVEUPDATE_WORKLOAD"
STEP_VARIABLE = "LIVEUPDATE_STEP"

BOOT_LIMIT_S = 300.0
"""How long a command's unit may wait in a boot for what it comes after."""
READ_BY_DIGEST = 1 << 20
"""Larger files of a saved state are known by size and time: reading them twice costs blackout."""

# What no command needs: it serves a workload, it does not change the host.
SANDBOX = (
    "NoNewPrivileges=yes",
    "ProtectSystem=full",
    "ProtectKernelModules=yes",
    "ProtectKernelLogs=yes",
    "ProtectClock=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "LimitCORE=0",
    "UMask=0077",
    # Our own state is not for it; its folder comes in the place of all of it.
    f"InaccessiblePaths=-{paths.RUNTIME}",
)
NO_STATE = f"TemporaryFileSystem={paths.STATE}:ro"
LOOKING = ("ProtectSystem=strict", "ProtectHome=read-only")
"""For the command that only looks."""


class HookFailed(ServiceError):
    """A command failed, in its own words, or did not end in time."""


@dataclass(frozen=True)
class Done:
    """A command that exited with 0."""

    stdout: str
    said: str
    """The first line of its stderr."""


@dataclass(frozen=True)
class Answer:
    """What a find command may say, in JSON."""

    present: bool = True
    bytes: int = 0
    reason: str = ""


def check(command: Sequence[str], user: str) -> None:
    """Raises HookFailed when somebody else than root and that user could have written it."""
    try:
        uid = pwd.getpwnam(user).pw_uid
    except KeyError as error:
        raise HookFailed(f"there is no user {user}") from error
    try:
        wrong = trust.writable_by_others(command[0], {0, uid})
    except OSError as error:
        raise HookFailed(f"{command[0]} cannot be run", error.strerror or str(error)) from error
    if wrong:
        raise HookFailed(f"{command[0]} is not run as {user}", wrong)


def run(
    name: str,
    step: str,
    command: Sequence[str],
    user: str,
    limit_s: float,
    *,
    state: Path | None = None,
    session: str = "",
    needs: Sequence[str] = (),
) -> Done:
    """Run the command as that user, in a transient unit.  Raises HookFailed with its words.

    `state` is its folder; it sees that in the place of ours, which holds what is others'.  `needs`
    are units and folders that it comes after, in the words of workloads.
    """
    check(command, user)
    _wait_for_bus()
    unit = f"liveupdated-hook-{hashlib.sha256(name.encode()).hexdigest()[:12]}-{step}.service"
    words = ["systemd-run", "--quiet", "--pipe", "--wait", "--service-type=exec", f"--unit={unit}"]
    words += [f"--description=Hook {step} of {name}", f"--uid={user}"]
    settings = [*SANDBOX, *(LOOKING if step == "find" else ()), f"RuntimeMaxSec={limit_s}s"]
    settings.append(f"BindPaths={state}:{paths.STATE}" if state else NO_STATE)
    settings += _after(needs)
    words += [f"--property={setting}" for setting in settings]
    variables = {STEP_VARIABLE: step, WORKLOAD_VARIABLE: name, SESSION_VARIABLE: session}
    variables[FOLDER_VARIABLE] = str(paths.STATE) if state else ""
    words += [f"--setenv={key}={value}" for key, value in variables.items() if value]
    try:
        done = subprocess.run(
            [*words, "--", *command],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit_s + BOOT_LIMIT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise HookFailed(f"{step} command {command[0]} was not started in time") from error
    said = next(iter(done.stderr.strip().splitlines()), "")
    if said:
        print(f"{name}, {step}: {done.stderr.strip()}", file=sys.stderr)  # all of it to the journal
    if done.returncode == 0:
        return Done(done.stdout, said)
    raise HookFailed(
        f"{step} command {command[0]} failed", _why(unit, done.returncode, said, limit_s)
    )


def _why(unit: str, code: int, said: str, limit_s: float) -> str:
    """Its own words; or, where systemd ended it, why."""
    try:
        result = systemd.show_one(unit, "Result").get("Result", "")
        systemd.systemctl("reset-failed", "--", unit)
    except ServiceError:
        result = ""
    if result == "timeout":
        return f"no end within {limit_s:g} s"
    return said or f"it exited with {code}"


def _after(needs: Sequence[str]) -> list[str]:
    words = [need.partition(":") for need in needs]
    after = [f"After={thing}" for word, _, thing in words if word == "unit"]
    return after + [f"RequiresMountsFor={thing}" for word, _, thing in words if word == "path"]


def _wait_for_bus() -> None:
    """systemd-run waits for a unit's end by the bus, which a boot has only after a while."""
    end = time.monotonic() + unitfiles.BUS_LIMIT_S
    while not (systemd.RUN / systemd.BUS_SOCKET).exists():
        if time.monotonic() > end:
            raise HookFailed("no command can be run", "the system bus does not come up")
        time.sleep(0.1)


def read_answer(text: str) -> Answer:
    """What `find` printed; nothing at all means that it is there.  Raises HookFailed."""
    if not text.strip():
        return Answer()
    try:
        told = json.loads(text)
        answer = Answer(**told)
    except (ValueError, TypeError) as error:
        raise HookFailed("the find command's answer is not understood", str(error)) from error
    shapes = {name: type(value) for name, value in vars(Answer()).items()}
    if {name: type(value) for name, value in vars(answer).items()} != shapes or answer.bytes < 0:
        raise HookFailed(
            "the find command's answer is not understood",
            "present is true or false, bytes a number, reason a text",
        )
    return answer


def files(state: Path) -> list[Path]:
    """All that is below, in the order of the names; links are not followed."""
    found = []
    for folder, folders, names in os.walk(state):
        found += [Path(folder, name) for name in (*folders, *names)]
    return sorted(found)


def digest(state: Path) -> str:
    """Of all that is below: names, owners, modes and contents."""
    found = hashlib.sha256()
    for path in files(state):
        status = path.lstat()
        what = [str(path.relative_to(state)), status.st_mode, status.st_uid, status.st_gid]
        found.update(json.dumps([*what, _content(path, status)]).encode())
    return found.hexdigest()


def _content(path: Path, status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return os.readlink(path)
    if not stat.S_ISREG(status.st_mode):
        return ""
    if status.st_size > READ_BY_DIGEST:
        return f"{status.st_size} {status.st_mtime_ns}"
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as opened:
        return hashlib.sha256(opened.read()).hexdigest()
