# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is to be opened again when its user's graphical session is back.

One file an application, named by its desktop id, in a folder a user: `FOLDER/UID/ID`.  It holds the
application's place in the order in which they were opened.  The folder is the user's, readable by
nobody else; whoever in his session removes a file opens that application, so that it is opened
once.  Here that is `main`, started by liveupdated-reopen.service
of the user's manager.  Standard library only.
"""

import contextlib
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

from liveupdated import paths, systemd
from liveupdated.errors import ServiceError
from liveupdated.users import User, desktop, ownrestore, wishes

START_LIMIT_S = 60.0
OWN_RESTORE_S = 10.0
"""How long a desktop that restores its session has for it; for all applications together."""
POLL_S = 0.5


# --- root's half ---


def put(user: User, app: str, place: int | None = None) -> None:
    """Leave an application for the user's session, with its place among them where that is known.

    Raises ServiceError, OSError.
    """
    if not desktop.is_id(app):
        raise ServiceError(f"{app!r} is no desktop id")
    paths.REOPEN.mkdir(mode=0o711, parents=True, exist_ok=True)
    paths.REOPEN.chmod(0o711)  # whatever the umask
    folder = paths.REOPEN / str(user.uid)
    folder.mkdir(mode=0o700, exist_ok=True)
    os.chown(folder, user.uid, user.gid)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        # What is there already is the user's, and waits.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with contextlib.suppress(FileExistsError):
            file = os.open(app, flags, 0o600, dir_fd=descriptor)
            try:
                os.write(file, b"" if place is None else b"%d\n" % place)
                os.fchown(file, user.uid, user.gid)
            finally:
                os.close(file)
    finally:
        os.close(descriptor)


def waits(user: User, app: str) -> bool:
    """Whether nobody has taken it yet."""
    return os.path.lexists(paths.REOPEN / str(user.uid) / app)


def waiting() -> dict[int, list[str]]:
    """User ids, and what still waits for their login."""
    try:
        uids = [int(name) for name in os.listdir(paths.REOPEN) if name.isdigit()]
    except FileNotFoundError:
        return {}
    return {uid: sorted(filter(desktop.is_id, _listed(uid))) for uid in uids}


def _listed(uid: int) -> list[str]:
    try:
        return os.listdir(paths.REOPEN / str(uid))
    except OSError:
        return []


# --- the user's half ---


def main() -> int:
    """Open all that waits for this user, one after the other, but for what he does not want and
    what his desktop has opened itself."""
    systemd.MANAGER = ("--user",)
    failed = False
    wished = wishes.read(os.environ)
    folder = paths.REOPEN / str(os.getuid())
    apps = sorted(_listed(os.getuid()), key=lambda app: (_place(folder / app), app))
    own_limit = time.monotonic() + (OWN_RESTORE_S if ownrestore.does(os.environ) else 0)
    for app in apps:
        try:
            opened = _opened(app, own_limit)
            os.unlink(folder / app)
            if wished.wants(app) and not opened:
                start(app)
        except FileNotFoundError:
            continue  # somebody else in the session has taken it
        except ServiceError as error:
            print(f"liveupdated: {error}", file=sys.stderr)
            failed = True
    return int(failed)


def _place(file: Path) -> int:
    """What waits since an earlier jump has none, and is first."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return -1


def _opened(app: str, limit: float) -> bool:
    """Whether the session has it open, or will have by then."""
    while True:
        shown = systemd.systemctl("list-units", "--plain", "--no-legend", "--state=active", "app-*")
        names = [line.split()[0] for line in shown.splitlines() if line.strip()]
        if any(desktop.application(name) == app for name in names):
            return True
        if time.monotonic() >= limit:
            return False
        time.sleep(POLL_S)


def start(app: str) -> None:
    """Start an application as a unit of its own, as a desktop does.  Raises ServiceError."""
    file = desktop.find(app, desktop.data_folders(os.environ))
    if file is None:
        raise ServiceError(
            f"{app} is not opened again", f"no {app}{desktop.SUFFIX} that starts anything"
        )
    # A service's $VARIABLE is expanded by its manager (systemd.service(5), "Command lines").
    words = [word.replace("$", "$$") for word in desktop.command(file)]
    folder = desktop.working_folder(file) or str(Path.home())
    name = f"app-liveupdated-{desktop.escape(app)}@{secrets.token_hex(4)}.service"
    command = ["systemd-run", "--user", "--quiet", "--collect", f"--unit={name}"]
    command += ["--slice=app.slice", "--property=ExitType=cgroup"]
    command += [f"--working-directory={folder}", f"--description={app}", "--", *words]
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=START_LIMIT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServiceError(f"{app} is not opened again", str(error)) from error
    if done.returncode != 0:
        raise ServiceError(f"{app} is not opened again", done.stderr.strip())
