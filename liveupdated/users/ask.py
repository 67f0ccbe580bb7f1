# SPDX-License-Identifier: LGPL-2.1-or-later
"""root asks a user's agent (`agent`): a process of that user, under a limit.

Not `systemctl --user --machine=`, which logs the user in for it (systemd-stdio-bridge in a session
of its own), nor as root at the user's socket: that is the user's to replace, by a link to the
system's own for instance.  Standard library only: used on the restore path.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator

from liveupdated.errors import ServiceError
from liveupdated.session import Json
from liveupdated.users import User

AGENT = ("/usr/bin/python3", "-I", "-m", "liveupdated.users.agent")
ANSWER_LIMIT = 16 << 20
"""Bytes: the user decides how much he says, and not how much memory that takes here."""
END_LIMIT_S = 10.0


def ask(user: User, step: str, question: Json, limit_s: float) -> Json:
    """What the user's agent answers: his word, in any shape.  Raises ServiceError."""
    with _started(user, step, question) as answer:
        data = _read(answer, user, limit_s)
    try:
        said = json.loads(data)
        if "answer" in said:
            return said["answer"]
        why = str(said["error"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        why = f"it said nothing that can be used ({error})"
    raise ServiceError(f"the user manager of {user.name} cannot be worked with", why)


@contextlib.contextmanager
def _started(user: User, step: str, question: Json) -> Iterator[int]:
    """The descriptor of the agent's answer.  The agent and its children end with the block."""
    # A pipe would be too small for some questions, and the agent may never read it.
    asked = os.memfd_create("question")
    try:
        os.write(asked, json.dumps(question).encode())
        os.lseek(asked, 0, os.SEEK_SET)
        process = subprocess.Popen(
            [*AGENT, step],
            stdin=asked,
            stdout=subprocess.PIPE,
            cwd="/",
            env={
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                "LANG": "C.UTF-8",
                "XDG_RUNTIME_DIR": f"/run/user/{user.uid}",
            },
            user=user.uid,
            group=user.gid,
            extra_groups=[],
            start_new_session=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ServiceError(f"nothing can be run as {user.name}", str(error)) from error
    finally:
        os.close(asked)
    assert process.stdout is not None  # noqa: S101  it was asked for
    with process.stdout:
        try:
            yield process.stdout.fileno()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_LIMIT_S)


def _read(answer: int, user: User, limit_s: float) -> bytes:
    """All of it, until its end."""
    end = time.monotonic() + limit_s
    poll = select.poll()
    poll.register(answer, select.POLLIN)
    data = bytearray()
    while len(data) <= ANSWER_LIMIT:
        left_s = end - time.monotonic()
        if left_s <= 0 or not poll.poll(left_s * 1000):
            raise ServiceError(
                f"the user manager of {user.name} does not answer", f"not in {limit_s:.0f} s"
            )
        chunk = os.read(answer, 1 << 16)
        if not chunk:
            return bytes(data)
        data += chunk
    raise ServiceError(f"the user manager of {user.name} says too much")
