# SPDX-License-Identifier: LGPL-2.1-or-later
"""The launcher of a process that is started again: root's until it has become its user.

Everything that a user could have made up (program, arguments, environment, folder, files) is used
only after the last privilege is gone.  Standard library only.
"""

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

from liveupdated import instructions
from liveupdated.errors import LiveUpdateError
from liveupdated.session import Json

PR_SET_NO_NEW_PRIVS = 38


def main() -> int:
    """`restore-process ARTIFACTS DIGEST WORK`: does not return when all is well."""
    artifacts, digest, work = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    words = os.open(work / "error", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        become(instructions.read(artifacts, digest))
    except (LiveUpdateError, OSError, ValueError) as error:
        print(f"liveupdated: {error}", file=sys.stderr)
        os.write(words, str(error).encode())
    return 1


def become(saved: dict[str, Json]) -> None:
    """Run the program as what it was.  Raises OSError."""
    for name, (soft, hard) in saved["limits"].items():
        resource.setrlimit(getattr(resource, name), (soft, hard))
    Path("/proc/self/oom_score_adj").write_text(str(saved["oom_score_adj"]))
    os.setpriority(os.PRIO_PROCESS, 0, saved["nice"])
    os.setgroups(saved["groups"])
    os.setresgid(saved["gid"], saved["gid"], saved["gid"])
    os.setresuid(saved["uid"], saved["uid"], saved["uid"])
    # From here on everything happens with its own rights.
    if saved["no_new_privileges"] and ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError("no-new-privileges could not be set")
    os.umask(saved["umask"])
    os.chdir(saved["cwd"])
    for fd, path in saved["outputs"].items():
        if path:
            opened = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOCTTY, 0o666)
            os.dup2(opened, int(fd))
            os.close(opened)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        ignored = saved["ignored"] >> (number - 1) & 1
        signal.signal(number, signal.SIG_IGN if ignored else signal.SIG_DFL)
    environment = dict(word.split("=", 1) for word in saved["environ"] if "=" in word)
    os.execve(saved["exe"], saved["argv"] or [saved["exe"]], environment)  # noqa: S606  no shell
