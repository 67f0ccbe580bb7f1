# SPDX-License-Identifier: LGPL-2.1-or-later
"""The checkpoint of a process tree that has a cgroup to itself: taken, undone, ended, vouched for.

The cgroup is frozen, dumped by CRIU as it is, and stays frozen until it is killed or thawed.
Meanwhile its TCP connections are kept from the network (`liveupdated.tcp`).

Standard library only: the launcher reads this on the blackout's clock.
"""

import contextlib
import dataclasses
import hashlib
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from liveupdated import cgroup, criu, instructions, tcp
from liveupdated.errors import LiveUpdateError, RestoreFailed, SaveFailed
from liveupdated.session import Json, remove_tree

IMAGES = "images"
WRITTEN_AHEAD = "ahead"
"""Beside the images, which refer to it: memory as it was before the freeze."""
VOLATILE = "volatile.tar"
FILES = "files.tar"
COMMANDS = "commands"
"""A word a line, and an empty one after each command."""
STDOUT_FDS = range(3, 10)
"""The launcher's shell makes these the stream to the journal; a shell knows one digit only, and
criu takes no lower ones."""
SHARED_MEMORY = "/dev/shm/"  # noqa: S108
"""Files there are POSIX shared memory (shm_overview(7)): CRIU keeps the mapping, not the file."""

WORTH_WRITING_AHEAD = 64 << 20
"""Bytes of memory; for less, what criu takes for its own start is longer than what it saves."""

# Rough figures for a prediction before the first rehearsal: criu's own start and end, and memory
# written once and read once by a disk of 200 MB/s.
FIXED_COST_US = 1_500_000
BYTES_PER_US = 100


def memory_bytes(pids: Sequence[int]) -> int:
    """What CRIU will write: memory that no file backs, swapped out or not, and what several of
    them share only once."""
    private, shared = 0, {}
    for pid in pids:
        fields = _kilobytes(pid, "status")  # proc_pid_status(5)
        private += fields.get("RssAnon", 0) + fields.get("VmSwap", 0)
        if fields.get("RssShmem"):
            shared[pid] = fields["RssShmem"]
    if len(shared) > 1:  # the kernel walks through all of the memory for that
        shared = {pid: _kilobytes(pid, "smaps_rollup").get("Pss_Shmem", 0) for pid in shared}
    return 1024 * (private + sum(shared.values()))


def _kilobytes(pid: int, table: str) -> dict[str, int]:
    """What is given in kB.  Nothing of a process that ends: it has no memory any more."""
    try:
        lines = Path(f"/proc/{pid}/{table}").read_text().splitlines()
    except criu.GONE:
        return {}
    fields = (line.split() for line in lines if line.endswith(" kB"))
    return {words[0].removesuffix(":"): int(words[1]) for words in fields}


def sockets(pids: Sequence[int]) -> tcp.Sockets:
    """Their TCP sockets.  Raises FileNotFoundError when all have ended."""
    there = criu.alive(pids) or list(pids)
    return tcp.sockets(there[0], [inode for pid in pids for inode in criu.sockets(pid).values()])


def tcp_sentence(pids: Sequence[int]) -> str:
    """What becomes of their connections, for the plan."""
    number = len(sockets(pids).connections)
    if tcp.available():
        return f"{tcp.sentence(number)} carried too" if number else "no TCP connection is open"
    return "its TCP connections are closed (way out: install nftables)"


def write_ahead(main: int, artifacts: Path) -> None:
    """Write the memory of the tree of `main` while it runs on: `take` then writes, frozen, only
    what it has changed since.  Where that cannot be done `take` writes all, so nothing is raised.
    """
    folder = artifacts / WRITTEN_AHEAD
    folder.mkdir(mode=0o700, parents=True)
    try:
        criu.pre_dump(main, folder, shell_job=not criu.leads_session(main))
    except (LiveUpdateError, OSError) as error:
        print(f"liveupdated: nothing is written ahead: {error}", file=sys.stderr)
        remove_tree(folder)


def take(
    name: str,
    main: int,
    group: Path,
    artifacts: Path,
    *,
    volatile: Sequence[str] = (),
    files: Callable[[Sequence[int]], Sequence[str]] | None = None,
) -> dict[str, Json]:
    """Freeze `group`, dump the tree of `main` in it; what `end` and `boot_files` need.

    `volatile` are folders, as `main` sees them, whose files do not outlive it and are kept too;
    `files` tells, of the frozen processes, single ones (and the folders on the way to them) that
    are put back where they are not there.
    `name` is the workload's, for its packet filter.  Raises SaveFailed; then it runs on.
    """
    images = artifacts / IMAGES
    images.mkdir(mode=0o700, parents=True)
    keep_tcp = tcp.available()
    try:
        held = tcp.NONE
        if keep_tcp:  # before the freeze: what the kernel acknowledges after the dump would be lost
            held = sockets(cgroup.pids(group))
            tcp.hold(name, held)
        cgroup.freeze(group)
        pids = cgroup.pids(group)  # none can come any more
        found = sockets(pids)
        if keep_tcp and found != held:
            tcp.hold(name, found)
        outside = criu.externals(pids)
        criu.dump(
            main,
            group,
            images,
            outside,
            keep_tcp=keep_tcp,
            shell_job=not criu.leads_session(main),
            previous=f"../{WRITTEN_AHEAD}" if (artifacts / WRITTEN_AHEAD).is_dir() else "",
        )
        _keep_files(main, artifacts / VOLATILE, [*volatile, *_shared_memory(pids)])
        _keep_files(main, artifacts / FILES, files(pids) if files else (), "--no-recursion")
    except (LiveUpdateError, OSError, subprocess.SubprocessError) as error:
        cgroup.thaw(group)
        release(name)
        detail = f"{error.what}: {error.why}" if isinstance(error, LiveUpdateError) else str(error)
        raise SaveFailed(f"{name} could not be checkpointed", detail) from error
    kept = tcp.to_json(found if keep_tcp else tcp.NONE)
    saved: dict[str, Json] = {"tcp": kept}
    if found.connections:
        saved["sockets"] = {str(pid): list(criu.sockets(pid)) for pid in pids}
    saved["launch"] = _write_launch(artifacts, main, pids, outside, kept)
    saved["bytes"] = sum(path.lstat().st_size for path in _saved_files(artifacts))
    return saved


def _shared_memory(pids: Sequence[int]) -> list[str]:
    """The files of POSIX shared memory that they have mapped or open, from the root folder."""
    used = {path for pid in pids for path in (*criu.mapped(pid), *criu.descriptors(pid).values())}
    return sorted(path.removeprefix("/") for path in used if path.startswith(SHARED_MEMORY))


def _keep_files(main: int, archive: Path, names: Sequence[str], *options: str) -> None:
    """Make the archive, if there is anything.  Sockets are left out: CRIU makes those."""
    root = Path(f"/proc/{main}/root")
    names = [name for name in names if (root / name).exists()]
    if not names:
        return
    command = ["tar", "--create", f"--file={archive}", "--xattrs", *options]
    command += ["--warning=no-file-ignored", f"--directory={root}/", "--", *names]
    subprocess.run(command, check=True, capture_output=True, timeout=criu.DUMP_LIMIT_S)


def end(group: Path, saved: dict[str, Json]) -> None:
    """Kill what is frozen, and have its connections part silently.

    Left to the shutdown, systemd would thaw the unit before it stops it (unit_stop() in its
    unit.c), and it would run on for a moment.
    """
    for pid, descriptors in saved.get("sockets", {}).items():
        tcp.part_silently(int(pid), descriptors)
    cgroup.kill(group)


def hold(name: str, saved: dict[str, Json]) -> None:
    """Keep the network from answering the peers of its connections before it is back."""
    if tcp.available():
        with contextlib.suppress(SaveFailed):
            tcp.hold(name, tcp.from_json(saved["tcp"]))


def release(name: str, *, bridged: bool = False) -> None:
    """Let the network have the connections again; should nft fail, they come back in time."""
    if tcp.available():
        with contextlib.suppress(SaveFailed):
            tcp.release(name, bridged=bridged)


# --- what was saved, and whether it still is that ---


def _write_launch(
    artifacts: Path, main: int, pids: list[int], outside: list[criu.External], kept: Json
) -> str:
    """What the launcher needs, with the images' sizes and digests; returns its own digest."""
    return instructions.write(
        artifacts,
        {
            "outside": [dataclasses.asdict(external) for external in outside],
            "uts": criu.namespace(main, "uts") != criu.namespace(criu.HOST_PID, "uts"),
            "volatile": (artifacts / VOLATILE).exists(),
            "single_files": (artifacts / FILES).exists(),
            "shell_job": not criu.leads_session(main),
            "terminals": any("/dev/ptmx" in criu.descriptors(pid).values() for pid in pids),
            "tcp": kept,
            "files": {
                str(path.relative_to(artifacts)): _fingerprint(path)
                for path in _saved_files(artifacts)
            },
        },
    )


def _saved_files(artifacts: Path) -> list[Path]:
    folders = [artifacts / WRITTEN_AHEAD, artifacts / IMAGES]
    archives = [artifacts / VOLATILE, artifacts / FILES]
    return [
        *(path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())),
        *(path for path in archives if path.exists()),
    ]


def _fingerprint(path: Path) -> list[int | str]:
    """Size, and the digest of all but the memory itself, whose reading would cost blackout; of a
    link, where it leads."""
    if path.is_symlink():
        return [0, str(path.readlink())]
    if path.name.startswith("pages-"):
        stat = path.stat()
        return [stat.st_size, str(stat.st_mtime_ns)]
    data = path.read_bytes()
    return [len(data), hashlib.sha256(data).hexdigest()]


def read_launch(artifacts: Path, digest: str) -> dict[str, Json]:
    """What `take` left for the launcher.  Raises RestoreFailed when it is not what was saved."""
    saved = instructions.read(artifacts, digest)
    _check_files(artifacts, saved)
    return saved


def _check_files(artifacts: Path, saved: dict[str, Json]) -> None:
    for name, expected in saved["files"].items():
        path = artifacts / name
        if not path.exists() or _fingerprint(path) != expected:
            raise RestoreFailed("its checkpoint was altered", f"{name} is not as it was saved")


# --- the commands of a restore ---


def ready(artifacts: Path, digest: str, work: Path) -> None:
    """Write down, in `work`, the commands of a restore that needs nothing besides: the launcher
    runs those from a shell, which starts in a tenth of Python's time.

    Writes nothing where there is something to wait for, to open or to complain about: that is for
    the launcher in Python, in the unit's own name.
    """
    try:
        saved = instructions.check(artifacts, digest)
        _check_files(artifacts, saved)
    except (LiveUpdateError, OSError):
        return
    outside = [criu.External(**external) for external in saved["outside"]]
    sockets = tcp.from_json(saved["tcp"])
    if (
        saved["terminals"]
        or instructions.waits(artifacts).exists()
        or any(external.path for external in outside)
        or len(outside) > len(STDOUT_FDS)
        or tcp.wait_for_addresses(sockets, 0)
    ):
        return
    fds = {external.inherit: fd for external, fd in zip(outside, STDOUT_FDS, strict=False)}
    words = commands(artifacts, saved, work, fds, keep_tcp=bool(sockets.connections))
    if not any("\n" in word for command in words for word in command):
        text = "".join("\n".join([*command, "", ""]) for command in words)
        (work / COMMANDS).write_text(text, errors="surrogateescape")


def commands(
    artifacts: Path,
    saved: dict[str, Json],
    work: Path,
    fds: Mapping[str, int],
    *,
    keep_tcp: bool,
) -> list[list[str]]:
    """What brings the tree back, one after the other; the last one is criu."""
    found = []
    if saved["volatile"]:
        found.append(_extract(artifacts / VOLATILE))
    if saved["single_files"]:
        found.append(_extract(artifacts / FILES, "--skip-old-files"))
    restore = criu.restore_command(
        artifacts / IMAGES, work, fds, keep_tcp=keep_tcp, shell_job=saved["shell_job"]
    )
    # ProtectHostname= made a namespace; it is not set for the launcher because its seccomp filter
    # would bind criu.
    return [*found, [*(["unshare", "--uts"] if saved["uts"] else []), *restore]]


def _extract(archive: Path, *options: str) -> list[str]:
    command = ["tar", "--extract", f"--file={archive}", "--directory=/", *options]
    return [*command, "--same-owner", "--same-permissions", "--numeric-owner", "--xattrs"]
