# SPDX-License-Identifier: LGPL-2.1-or-later
"""The launcher of a container: what systemd starts, this once, to bring it back.

For a container that a service owns it is that service's start; any other has a unit of its own for
it, and podman puts it into scopes of its own.  Standard library only.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from liveupdated import conntrack, criu, instructions, podman, systemd
from liveupdated.errors import LiveUpdateError, RestoreFailed
from liveupdated.podman import checkpoint
from liveupdated.session import Json, write_durably

FRESH = "fresh"
PODMAN_LIMIT_S = 170
NAMESPACE_NAMES = {"network": "net"}
"""Where the OCI configuration and /proc/PID/ns have different words."""


def main() -> int:
    """`restore-container ARTIFACTS DIGEST WORK`: its end tells how it went, and so do files in
    WORK: `running`; else `error`, and `fresh` when the container was started afresh."""
    artifacts, digest, work = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    saved: dict[str, Json] = {}
    try:
        saved = instructions.read(artifacts, digest)
        if saved["unit"]:
            instructions.refuse_twice(work)
        elif (work / "running").exists():  # started twice: by the boot, and by whoever waits for it
            return 0
        bring_back(saved, artifacts, work)
    except (LiveUpdateError, OSError, ValueError, subprocess.SubprocessError) as error:
        print(f"liveupdated: {error}", file=sys.stderr)
        (work / "error").write_text(str(error))
        if saved and not saved["export"]:
            checkpoint.discard(Path(saved["bundle"]))
        if saved and saved["seal"] and not saved["unit"]:
            _start_afresh(saved, work)
        (work / "failed").touch()
        return 1
    (work / "running").touch()
    return 0


def write(artifacts: Path, facts: dict[str, Json], seal: str, tracked: Json) -> str:
    """Leave what `main` needs; the digest that it asks for.  Without a seal: it is only started."""
    keys = ("id", "bundle", "joins", "export", "cidfile", "unit")
    saved = {**{key: facts[key] for key in keys}, "seal": seal, "tracked": tracked}
    return instructions.write(artifacts, saved)


def bring_back(saved: dict[str, Json], artifacts: Path, work: Path) -> None:
    """Restore it, or start it where nothing was checkpointed.  Raises RestoreFailed."""
    if not saved["seal"]:
        _podman(saved, "start", saved["id"])
        return
    bundle = Path(saved["bundle"])
    export = artifacts / checkpoint.EXPORT if saved["export"] else None
    try:
        altered = checkpoint.seal(bundle, export) != saved["seal"]
    except FileNotFoundError as error:
        raise RestoreFailed("its checkpoint is not there", str(error)) from error
    if altered:
        raise RestoreFailed("its checkpoint was altered", "it is not as it was saved")
    try:
        # Before its sockets are back: they speak at once.
        conntrack.put(conntrack.from_json(saved["tracked"]))
    except LiveUpdateError as error:
        (work / "note").write_text(f"its TCP connections may be lost: {error}")
    words = ["container", "restore", "--tcp-established", "--file-locks"]
    if export:
        _podman(saved, *words, f"--import={export}", "--ignore-volumes")
        if saved["cidfile"]:
            # podman-rm(1) --cidfile of the service's ExecStop= finds it by that.
            Path(saved["cidfile"]).write_text(saved["id"])
    else:
        _adapt(saved, bundle / "config.json")
        _podman(saved, *words, saved["id"])
    if saved["unit"]:
        conmon = _podman(saved, "inspect", "--format={{.State.ConmonPid}}", saved["id"]).strip()
        systemd.notify(f"MAINPID={conmon}\nREADY=1")


def _adapt(saved: dict[str, Json], config: Path) -> None:
    """Make the OCI configuration one that a restore in place can use.

    The namespaces that it shares are where the other container has them now: podman sees to that
    for `--import` into a pod; in place it takes the paths of before (restore() of its
    container_internal_common.go).  And CRIU does not follow a link to what is mounted (4.2.1:
    `mnt-v2: Failed to move_mount`), as the runtime did.
    """
    spec = json.loads(config.read_bytes())
    for mount in spec["mounts"]:
        if mount["type"] == "bind":
            mount["source"] = os.path.realpath(mount["source"])
    for namespace in spec["linux"]["namespaces"]:
        kind = namespace["type"]
        if kind in saved["joins"]:
            other = saved["joins"][kind]
            pid = _podman(saved, "inspect", "--format={{.State.Pid}}", other).strip()
            if pid == "0":
                raise RestoreFailed(f"container {other[:12]}, whose namespaces it shares, is down")
            namespace["path"] = f"/proc/{pid}/ns/{NAMESPACE_NAMES.get(kind, kind)}"
    write_durably(config, json.dumps(spec).encode(), 0o644)


def _podman(saved: dict[str, Json], *words: str) -> str:
    """Raises RestoreFailed with CRIU's own error where it told one."""
    # conmon belongs into the cgroup of the service that is the container, and into no other.
    without = () if saved["unit"] else (podman.INVOCATION, "NOTIFY_SOCKET")
    environment = {key: value for key, value in os.environ.items() if key not in without}
    done = subprocess.run(
        [podman.PODMAN, *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=PODMAN_LIMIT_S,
        env=environment,
    )
    if done.returncode != 0:
        log = Path(saved["bundle"]) / checkpoint.RESTORE_LOG
        said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise RestoreFailed(f"podman {words[0]} failed", criu.first_error(log) or said[0])
    return done.stdout


def _start_afresh(saved: dict[str, Json], work: Path) -> None:
    try:
        _podman(saved, "start", saved["id"])
    except (LiveUpdateError, OSError, subprocess.SubprocessError) as error:
        print(f"liveupdated: {error}", file=sys.stderr)
        return
    (work / FRESH).touch()
