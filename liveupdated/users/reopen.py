# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is to be opened again when its user's graphical session is back.

One empty file an application, named by its desktop id, in a folder a user: `FOLDER/UID/ID`.  The
folder is the user's, readable by nobody else; whoever in his session removes a file opens that
application, so that it is opened once.  Here that is `main`, started by liveupdated-reopen.service
of the user's manager.  Standard library only.
"""

import os
import secrets
import subprocess
import sys
from pathlib import Path

from liveupdated import paths
from liveupdated.errors import ServiceError
from liveupdated.users import User, desktop

START_LIMIT_S = 60.0


# --- root's half ---


def put(user: User, app: str) -> None:
    """Leave an application for the user's session.  Raises ServiceError, OSError."""
    if not desktop.is_id(app):
        raise ServiceError(f"{app!r} is no desktop id")
    paths.REOPEN.mkdir(mode=0o711, parents=True, exist_ok=True)
    paths.REOPEN.chmod(0o711)  # whatever the umask
    folder = paths.REOPEN / str(user.uid)
    folder.mkdir(mode=0o700, exist_ok=True)
    os.chown(folder, user.uid, user.gid)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW
        os.close(os.open(app, flags, 0o600, dir_fd=descriptor))
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
    """Open all that waits for this user, one after the other."""
    failed = False
    for app in sorted(_listed(os.getuid())):
        try:
            os.unlink(paths.REOPEN / str(os.getuid()) / app)
        except FileNotFoundError:
            continue  # somebody else in the session has taken it
        try:
            start(app)
        except ServiceError as error:
            print(f"liveupdated: {error}", file=sys.stderr)
            failed = True
    return int(failed)


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
