# SPDX-License-Identifier: LGPL-2.1-or-later
"""The launcher, where a shell will not do: what systemd starts, this once, in place of a carried
service's program.

It runs in the service's own unit: in its cgroup, its mount namespace, with its stdout.  It checks
that the session was claimed and the images are those that were saved, waits for what has to be
there, puts the service's volatile files back, opens what CRIU wants handed in, and becomes criu.
Standard library only.
"""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from liveupdated import checkpoint, criu, instructions, paths, tcp
from liveupdated.errors import LiveUpdateError, RestoreFailed


def main() -> int:
    """`launch-unit ARTIFACTS DIGEST WORK`: does not return when all is well."""
    artifacts, digest, work = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    try:
        launch(artifacts, digest, work)
    except (LiveUpdateError, OSError, subprocess.SubprocessError) as error:
        print(f"liveupdated: {error}", file=sys.stderr)
        (work / "error").write_text(str(error))
    return 1


def launch(artifacts: Path, digest: str, work: Path) -> None:
    """Become criu.  Raises RestoreFailed when what was saved is not what is there."""
    instructions.refuse_twice(work)
    saved = checkpoint.read_launch(artifacts, digest)
    outside = [criu.External(**external) for external in saved["outside"]]
    fds = {external.inherit: _open(external) for external in outside}
    keep_tcp = _addresses_are_there(tcp.from_json(saved["tcp"]), work)
    *before, last = checkpoint.commands(artifacts, saved, work, fds, keep_tcp=keep_tcp)
    for command in before:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    if saved["terminals"]:
        _one_at_a_time()
    os.execvp(last[0], last)  # noqa: S606  no shell is what is wanted


def _one_at_a_time() -> None:
    """Wait for the others that have terminals: to give one its number back CRIU opens all that are
    free below it, and would take those of others.  Closed, and so released, when criu ends."""
    lock = os.open(paths.TERMINALS, os.O_RDWR | os.O_CREAT, 0o600)
    os.set_inheritable(lock, True)
    fcntl.flock(lock, fcntl.LOCK_EX)


def _addresses_are_there(sockets: tcp.Sockets, work: Path) -> bool:
    """Whether its connections can be restored; if not, leave a note that says why not.

    Raises RestoreFailed when nothing can be restored without that address.
    """
    missing = tcp.wait_for_addresses(sockets)
    if {listener.address for listener in sockets.listeners} & set(missing):
        raise RestoreFailed(
            "it listens on an address that this host no longer has", ", ".join(missing)
        )
    if missing:
        closed = tcp.sentence(len(sockets.connections))
        (work / "note").write_text(
            f"{closed} closed: this host no longer has the address {', '.join(missing)}"
        )
    return bool(sockets.connections) and not missing


def _open(external: criu.External) -> int:
    if not external.path:
        fd = os.dup(sys.stdout.fileno())
    else:
        fd = os.open(external.path, external.flags & ~(os.O_CREAT | os.O_EXCL | os.O_TRUNC))
        if external.position:
            os.lseek(fd, external.position, os.SEEK_SET)
    os.set_inheritable(fd, True)
    return fd
