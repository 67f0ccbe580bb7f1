# SPDX-License-Identifier: LGPL-2.1-or-later
"""The checkpoint of a container, before the jump.

The recipe (podman 5.4, crun 1.21 and runc 1.1, CRIU 4.2.1, tried between 6.12 and 7.3):

- The cgroup that the runtime knows the container by is frozen first, and no other: CRIU thaws and
  freezes that one, and hangs when one above it is frozen.  `--leave-running` leaves it frozen.
- The container's network is shut meanwhile.  What the kernel took in for a frozen socket after the
  checkpoint would be acknowledged to the peer and lost.  What its peers beyond the host send is
  held there too (`liveupdated.tcp`), until long after the container's network has gone.
- A container that podman keeps is checkpointed in place, in podman's own folder for it: its root
  file system stays as it is.  One that podman removes when it ends (`--rm`, and so every quadlet)
  is exported, and made anew from that, with its id and name.
- The end is SIGKILL, first of all to conmon: it would have podman clean up, and start the
  container afresh where a restart policy says so.

Standard library only: used on the restore path.
"""

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from liveupdated import cgroup, conntrack, criu, podman, tcp, tcpstream, timerfd
from liveupdated import checkpoint as engine
from liveupdated.errors import SaveFailed, ServiceError
from liveupdated.session import Json, sync_folder

CRUN_STATUS = Path("/run/crun")
RUNC_STATE = Path("/run/runc")
DUMP_LIMIT_S = 300
CHECKPOINT = "checkpoint"
"""Below the bundle, and in an export: CRIU's images."""
EXPORT = "export.tar"
DUMP_LOG = "dump.log"
RESTORE_LOG = "restore.log"
MADE_IN_PLACE = ("devshm-checkpoint.tar", "network.status", "stats-dump", DUMP_LOG)
"""What a checkpoint in place leaves beside its images."""

NET_TABLE = "liveupdated"
NET_SHUT = f"""\
table inet {NET_TABLE} {{
    chain in {{ type filter hook prerouting priority -400; policy drop; }}
    chain out {{ type filter hook output priority -400; policy drop; }}
}}
"""


@dataclass(frozen=True)
class Taken:
    """A checkpoint, and what has to be known of the network for its return."""

    seal: str
    bytes: int
    tracked: Json
    """Of `conntrack`."""
    tcp: Json
    """Of `tcp`: what is held."""


def take(name: str, facts: dict[str, Json], artifacts: Path) -> Taken:
    """Freeze the container and checkpoint it; it stays frozen, its network shut.

    `name` is the workload's, for its packet filter.  Raises LiveUpdateError or OSError, and then
    leaves what was done so far.
    """
    bundle = Path(facts["bundle"])
    export = artifacts / EXPORT if facts["export"] else None
    hold(name, facts, conntrack.of(facts["addresses"]))
    cgroup.freeze(Path(facts["group"]))
    shut_network(facts["pid"])
    tracked = conntrack.of(facts["addresses"])  # no more can come
    held = hold(name, facts, tracked)
    dump(facts["id"], bundle, export)
    return Taken(
        seal(bundle, export), size(bundle, export), conntrack.to_json(tracked), tcp.to_json(held)
    )


def hold(name: str, facts: dict[str, Json], tracked: Collection[conntrack.Tracked]) -> tcp.Sockets:
    """Keep its peers' packets, and new connections to its published ports, off this host."""
    addresses = facts["addresses"]
    published = tuple(tcp.Endpoint(address, port) for address, port in facts["published"])
    ends = tuple(each.outside(addresses) for each in tracked)
    held = tcp.Sockets(
        ends, published, _bridged(facts, {each.inside(addresses) for each in tracked})
    )
    tcp.hold(name, held)
    return held


def _bridged(
    facts: dict[str, Json], tracked: Collection[tuple[tcp.Endpoint, tcp.Endpoint]]
) -> tuple[tuple[tcp.Endpoint, tcp.Endpoint], ...]:
    """Its connections with others of its bridge, which this host passes on without tracking."""
    ends = engine.sockets(cgroup.pids(Path(facts["group"]))).connections
    return tuple(
        each for each in ends if each[0].address in facts["addresses"] and each not in tracked
    )


def cgroup_of(container: podman.Container) -> Path:
    """The cgroup that its runtime freezes and kills it by.  Raises ServiceError."""
    name = podman.runtime(container)
    try:
        if name == "runc":
            state = json.loads((RUNC_STATE / container["Id"] / "state.json").read_bytes())
            return Path(state["cgroup_paths"][""])
        status = json.loads((CRUN_STATUS / container["Id"] / "status").read_bytes())
        return cgroup.folder(status["cgroup-path"])
    except (OSError, ValueError, KeyError) as error:
        raise ServiceError(f"{name} does not tell the container's cgroup", str(error)) from error


def memory_bytes(group: Path) -> int:
    """What CRIU will write: memory that no file backs, swapped out or not (cgroup-v2.rst)."""
    fields = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    swap = group / "memory.swap.current"  # not in a kernel without swap
    swapped = int(swap.read_text()) if swap.exists() else 0
    return int(fields["anon"]) + int(fields["shmem"]) + swapped


def shut_network(pid: int) -> None:
    """Let no packet in or out of the network namespace of `pid`, until `open_network`."""
    _nft(pid, NET_SHUT)


def open_network(pid: int) -> None:
    # A table is made before it is deleted: one that is not there would be an error (nft(8)).
    _nft(pid, f"table inet {NET_TABLE} {{ }}\ndelete table inet {NET_TABLE}\n")


def _nft(pid: int, rules: str) -> None:
    command = ["nsenter", f"--target={pid}", "--net", "nft", "--file", "-"]
    done = subprocess.run(
        command, check=False, input=rules, capture_output=True, text=True, timeout=30
    )
    if done.returncode != 0:
        raise ServiceError("the container's network cannot be shut", done.stderr.strip())


def dump(container_id: str, bundle: Path, export: Path | None) -> None:
    """Checkpoint the frozen container; it stays frozen.  Raises SaveFailed with CRIU's own error.

    `--keep`: without it podman deletes the log that tells why.
    """
    words = ["--leave-running", "--keep", "--tcp-established", "--file-locks"]
    if export:
        # Volumes outlive the container: what is in them stays where it is.
        words += [f"--export={export}", "--compress=none", "--ignore-volumes"]
    try:
        podman.call("container", "checkpoint", *words, container_id, limit_s=DUMP_LIMIT_S)
    except ServiceError as error:
        raise SaveFailed(
            "CRIU refuses", criu.first_error(bundle / DUMP_LOG) or error.why
        ) from error
    if export:
        shutil.rmtree(bundle / CHECKPOINT, ignore_errors=True)
        export.chmod(0o600)
        _mend_export(export)
    else:
        timerfd.mend(bundle / CHECKPOINT / timerfd.FILES)
        tcpstream.mend(bundle / CHECKPOINT)
        for path in _files(bundle):
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            os.fsync(fd)
            os.close(fd)
        sync_folder(bundle / CHECKPOINT)


def _mend_export(export: Path) -> None:
    """What is longer afterwards is appended: of two members of a name the later one counts."""
    longer: list[tuple[tarfile.TarInfo, bytes]] = []
    with tarfile.open(export) as archive:
        timers = archive.getmember(f"{CHECKPOINT}/{timerfd.FILES}")
        for member in archive:
            if Path(member.name).match(f"{CHECKPOINT}/{tcpstream.IMAGES}"):
                file = archive.extractfile(member)
                data = file.read() if file else b""
                if (new := tcpstream.mended(data)) != data:
                    member.size = len(new)
                    longer.append((member, new))
    timerfd.mend(export, timers.offset_data, timers.size)
    with tarfile.open(export, "a") as archive:
        for member, data in longer:
            archive.addfile(member, io.BytesIO(data))


def discard(bundle: Path) -> None:
    """Delete a checkpoint in place: it holds the container's secrets."""
    shutil.rmtree(bundle / CHECKPOINT, ignore_errors=True)
    for name in MADE_IN_PLACE:
        (bundle / name).unlink(missing_ok=True)


def end(group: Path, conmon: int) -> None:
    """Kill the frozen container without its monitor's noticing.  Raises SaveFailed."""
    with suppress(ProcessLookupError, FileNotFoundError):
        if Path(f"/proc/{conmon}/comm").read_text().strip() == "conmon":
            os.kill(conmon, signal.SIGKILL)
    cgroup.kill(group)


# --- what was saved, and whether it still is that ---


def _files(bundle: Path) -> list[Path]:
    """All that a restore in place reads, but for the configuration, which podman rewrites."""
    images = [path for path in (bundle / CHECKPOINT).iterdir() if path.is_file()]
    beside = [bundle / name for name in MADE_IN_PLACE if name != DUMP_LOG]
    return sorted([*images, *(path for path in beside if path.is_file())])


def seal(bundle: Path, export: Path | None) -> str:
    """A digest of the checkpoint; of memory pages only the size and the file's time, because
    reading them twice would cost blackout."""
    parts = _export_parts(export) if export else _place_parts(bundle)
    return hashlib.sha256(json.dumps(list(parts)).encode()).hexdigest()


def _place_parts(bundle: Path) -> Iterator[list[Json]]:
    for path in _files(bundle):
        stat = path.stat()
        pages = path.name.startswith("pages-")
        what = stat.st_mtime_ns if pages else hashlib.sha256(path.read_bytes()).hexdigest()
        yield [path.name, stat.st_size, what]


def _export_parts(export: Path) -> Iterator[list[Json]]:
    yield [export.stat().st_mtime_ns]
    with tarfile.open(export) as archive:
        for member in archive:
            head = [member.name, member.size, member.mode, member.linkname]
            file = None
            if not member.name.startswith(f"{CHECKPOINT}/pages-"):
                file = archive.extractfile(member) if member.isfile() else None
            yield [*head, hashlib.sha256(file.read()).hexdigest() if file else ""]


def size(bundle: Path, export: Path | None) -> int:
    files: Iterable[Path] = [export] if export else _files(bundle)
    return sum(path.stat().st_size for path in files)
