# SPDX-License-Identifier: LGPL-2.1-or-later
"""CRIU, as far as carrying a service needs it: what stands in the way, the dump, the restore.

The recipe (criu(8), and what was measured between 6.12 and 7.3):

- The dump runs inside the mount and UTS namespace of the service, so that CRIU sees them as its own
  and leaves them out; systemd, or the launcher, makes them anew at restore.  criu is executed by
  descriptor, because `NoExecPaths=` may hide it there.
- The processes are in a frozen cgroup before the dump and stay so after it (`--leave-running` on a
  frozen cgroup): resuming is a thaw, and nothing runs between checkpoint and jump.
- What the service shares with others is *external*: the stream to journald and descriptors that
  systemd opened outside the service's mount namespace.  The launcher hands in fresh ones.

Standard library only: the launcher reads this on the blackout's clock.
"""

import contextlib
import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from liveupdated import obstacles as look_for
from liveupdated.errors import SaveFailed

CRIU = "/usr/sbin/criu"
JOURNAL_STREAM = "/run/systemd/journal/stdout"
DUMP_LIMIT_S = 300.0
HOST_PID = 1
"""A process that is in the namespaces of the host."""

WAY_OUT = "(way out: "
"""In an obstacle that somebody can do something about."""

KERNEL = "kernel:criu"
"""Among a workload's needs: a kernel that was built with what CRIU needs."""

COMMON = [
    "-v4",
    "--file-locks",
    "--ext-unix-sk",
    "--manage-cgroups=ignore",
    "--ghost-limit=64M",
]

# We keep the network away ourselves (liveupdated.tcp): from before the freeze, and past the jump.
# Connections that nobody has accepted yet are left out: their clients try again.
KEEP_TCP = ["--tcp-established", "--network-lock=skip", "--skip-in-flight"]
CLOSE_TCP = ["--tcp-close"]

KERNEL_DATA = Path("/run/criu.kdat")
MODULES = ("unix_diag", "tcp_diag", "udp_diag", "raw_diag", "af_packet_diag", "netlink_diag")
"""What it has the kernel load when it looks first: a process of modprobe(8) for each, a second in
all under emulation."""
CHECK_LIMIT_S = 60.0

TRACK = ["--track-mem"]
"""Have the kernel note what is written to: for a dump of what was changed since another one."""
DUMP_LOG = "dump.log"

SHELL_JOB = ["--shell-job"]
"""For a tree whose root leads no session: it joins that of whoever restores it (criu(8))."""

GONE = (FileNotFoundError, ProcessLookupError)
"""What /proc answers about a process that has ended."""
NAMELESS = ("/memfd:", "/dev/zero (deleted)")
"""Files of a mount of the kernel's own that nobody sees: CRIU takes their content along."""
HARMLESS_DEVICES = {"null", "zero", "full", "random", "urandom"}
FOREIGN_NAMESPACES = {
    "user": "PrivateUsers=no",
    "net": "PrivateNetwork=no",
    "pid": "PrivatePIDs=no",
    "cgroup": "ProtectControlGroups=yes instead of private or strict",
}
"""Namespaces that criu cannot take along from inside a unit, and the setting that avoids them."""

SYSV_SHARED_MEMORY = "/SYSV"
"""How the names of its segments begin among a process's mappings (ipc/shm.c, newseg())."""

UNCARRIABLE_ANON = {
    "[io_uring]": "an io_uring",
    "[fanotify]": "a fanotify group",
    "[perf_event]": "a perf event",
    "[userfaultfd]": "a userfaultfd",
    "kvm-vm": "a virtual machine (KVM)",
    "kvm-vcpu": "a virtual machine (KVM)",
    "bpf-prog": "a BPF program",
    "bpf-map": "a BPF map",
}


@dataclass(frozen=True)
class External:
    """A descriptor that stays outside the checkpoint and is handed in at restore."""

    dump: str
    """Argument of `--external`."""
    inherit: str
    """What `--inherit-fd fd[N]:` is followed by."""
    path: str
    """What to open; empty for the stream to the journal."""
    flags: int = 0
    position: int = 0


def version() -> tuple[int, ...]:
    """criu's version; empty when it is not installed."""
    try:
        done = subprocess.run([CRIU, "--version"], check=False, capture_output=True, text=True)
    except FileNotFoundError:
        return ()
    found = re.search(r"Version: ([\d.]+)", done.stdout)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


def unix_peers() -> dict[int, tuple[int, str]]:
    """Connected unix sockets of the host: inode to the peer's inode and the peer's own name.

    From ss(8), which asks the kernel's sock_diag.
    """
    done = subprocess.run(["ss", "-xanH"], check=True, capture_output=True, text=True)
    names: dict[int, str] = {}
    peers: dict[int, int] = {}
    for line in done.stdout.splitlines():
        words = line.split()
        if len(words) < 8 or not words[5].isdigit() or not words[7].isdigit():
            continue
        names[int(words[5])] = words[4]
        if int(words[7]):
            peers[int(words[5])] = int(words[7])
    return {inode: (peer, names.get(peer, "")) for inode, peer in peers.items()}


def alive(pids: Iterable[int]) -> list[int]:
    """Those that are still there: while they run, a plan sees some end that it has just seen."""
    return [pid for pid in pids if os.path.exists(f"/proc/{pid}")]


def descriptors(pid: int) -> dict[int, str]:
    """The open descriptors of a process and what each refers to (proc_pid_fd(5)); none of one that
    has ended."""
    folder = Path(f"/proc/{pid}/fd")
    found: dict[int, str] = {}
    try:
        names = os.listdir(folder)
    except GONE:
        return {}
    for name in names:
        try:
            found[int(name)] = os.readlink(folder / name)
        except FileNotFoundError:
            continue
    return found


def fdinfo(pid: int, fd: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/fdinfo/{fd}").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def mount_ids(pid: int) -> set[str]:
    lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    return {line.split(maxsplit=1)[0] for line in lines}


def namespace(pid: int, name: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{name}")


def socket_inode(target: str) -> int | None:
    found = re.fullmatch(r"socket:\[(\d+)\]", target)
    return int(found[1]) if found else None


def sockets(pid: int) -> dict[int, int]:
    """The open sockets of a process: descriptor to inode."""
    found = {fd: socket_inode(target) for fd, target in descriptors(pid).items()}
    return {fd: inode for fd, inode in found.items() if inode is not None}


def parent(pid: int) -> int:
    """The parent's pid (proc_pid_stat(5), field 4)."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


def externals(pids: list[int]) -> list[External]:
    """What must stay outside a dump of these processes."""
    peers = unix_peers()
    found: dict[str, External] = {}
    for pid in pids:
        mounts = mount_ids(pid)
        for fd, target in descriptors(pid).items():
            inode = socket_inode(target)
            if inode is not None:
                if peers.get(inode, (0, ""))[1] == JOURNAL_STREAM:
                    found[target] = External(f"unix[{inode}]", f"socket:[{inode}]", "")
            elif target.startswith("/") and not target.startswith(NAMELESS):
                info = fdinfo(pid, fd)
                if info["mnt_id"] not in mounts:
                    number = os.stat(f"/proc/{pid}/fd/{fd}").st_ino
                    key = f"file[{int(info['mnt_id']):x}:{number:x}]"
                    found[key] = External(key, key, target, int(info["flags"], 8), int(info["pos"]))
    return list(found.values())


def obstacles(main: int, pids: list[int]) -> list[str]:
    """Why CRIU could not carry these processes: sentences with the way out, none if it can."""
    found = [*_tool_obstacles(), *_tree_obstacles(main, pids), *_ipc_obstacles(main, pids)]
    found += [
        f"it runs in a {name} namespace of its own "
        f"(way out: {setting} in its service; else, start it without one)"
        for name, setting in FOREIGN_NAMESPACES.items()
        if namespace(main, name) != namespace(HOST_PID, name)
    ]
    peers = unix_peers()
    open_files = {pid: descriptors(pid) for pid in pids}
    own = {inode for pid in pids for inode in sockets(pid).values()}
    terminals = look_for.own_terminals(open_files)
    for pid, targets in open_files.items():
        found += [
            f"process {pid} has {what} open as descriptor {fd}"
            for fd, target in targets.items()
            if target not in terminals
            for what in _uncarriable(target, peers, own)
        ]
    journal = {inode for inode, (_, name) in peers.items() if name == JOURNAL_STREAM}
    found += look_for.elsewhere_too(open_files, {f"socket:[{inode}]" for inode in journal})
    for pid in pids:
        of_process = look_for.of_process(pid, main, open_files[pid])
        found += of_process if alive([pid]) else []
    return list(dict.fromkeys(found))


def _tool_obstacles() -> list[str]:
    found = version()
    if not found:
        return [f"{CRIU} is not installed (way out: install criu)"]
    release = tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
    # Linux 6.16 refuses SO_PASSSEC on sockets other than AF_UNIX; CRIU asks for it before 4.2.
    if release >= (6, 16) and found < (4, 2):
        have = ".".join(map(str, found))
        return [f"criu {have} cannot dump sockets on Linux 6.16 and later (way out: criu >= 4.2)"]
    return []


def _tree_obstacles(main: int, pids: list[int]) -> list[str]:
    found = []
    for pid in pids:
        ancestor = pid
        with contextlib.suppress(*GONE):
            while ancestor not in (main, 0, 1):
                ancestor = parent(ancestor)
        if ancestor in (0, 1) and alive([pid]):
            found.append(f"process {pid} is no descendant of its main process {main}")
    own_root, root = os.stat(f"/proc/{main}/root"), os.stat("/")
    if (own_root.st_dev, own_root.st_ino) != (root.st_dev, root.st_ino):
        found.append("it has a root folder of its own (RootDirectory=, RootImage=, chroot)")
    return found


def _ipc_obstacles(main: int, pids: list[int]) -> list[str]:
    """System V shared memory (sysvipc(7)) is carried with its IPC namespace, or not at all."""
    if namespace(main, "ipc") != namespace(HOST_PID, "ipc"):
        return []
    return [
        f"process {pid} has System V shared memory, which is the host's (way out: PrivateIPC=yes "
        "in its service; else POSIX shared memory)"
        for pid in pids
        if any(path.startswith(SYSV_SHARED_MEMORY) for path in mapped(pid))
    ][:1]


def mapped(pid: int) -> set[str]:
    """The files that a process has mapped (proc_pid_maps(5)); none of one that has ended."""
    try:
        maps = Path(f"/proc/{pid}/maps").read_text()
    except GONE:
        return set()
    lines = (line.split(maxsplit=5) for line in maps.splitlines())
    return {words[5] for words in lines if len(words) == 6 and words[5].startswith("/")}


def _uncarriable(target: str, peers: dict[int, tuple[int, str]], own: set[int]) -> list[str]:
    inode = socket_inode(target)
    if inode is not None:
        peer, name = peers.get(inode, (0, ""))
        if peer and peer not in own and name != JOURNAL_STREAM:
            other = f" to {name}" if name not in ("", "*") else ""
            return [f"a unix connection{other}, whose other end is not carried,"]
    if target.startswith("anon_inode:"):
        what = UNCARRIABLE_ANON.get(target.removeprefix("anon_inode:"))
        return [what] if what else []
    if target.startswith("/dev/") and not target.startswith("/dev/shm/"):  # noqa: S108
        name = target.removeprefix("/dev/")
        return [] if name in HARMLESS_DEVICES else [look_for.device(target)]
    return []


def leads_session(pid: int) -> bool:
    """Whether the process is a session leader (setsid(2), proc_pid_stat(5), field 6)."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[3]) == pid


def pre_dump(main: int, images: Path, *, shell_job: bool = False) -> None:
    """Write the memory of the tree of `main` into `images` while it runs on (criu(8), pre-dump).

    A `dump` with `previous` writes only what was changed since.  Raises SaveFailed.
    """
    options = ["pre-dump", *TRACK, *(SHELL_JOB if shell_job else [])]
    _run(main, images, options)


def look_at_kernel() -> None:
    """Have CRIU find out, for all its runs of this boot, what the kernel can: a second under
    emulation, which the first one else takes, with a workload frozen."""
    if not KERNEL_DATA.exists():
        command = [CRIU, "check", "--feature", "mem_dirty_track"]
        # What it answers is of no interest.
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(command, check=False, capture_output=True, timeout=CHECK_LIMIT_S)


def dump(
    main: int,
    cgroup: Path,
    images: Path,
    outside: list[External],
    *,
    keep_tcp: bool,
    shell_job: bool = False,
    previous: str = "",
) -> None:
    """Dump the tree of `main`, whose cgroup is frozen, into `images`; it stays frozen.

    With `keep_tcp` its TCP connections go into the images, else they will be closed.  `previous`
    is the folder of a `pre_dump`, as seen from `images`.

    Raises SaveFailed with CRIU's own last error.
    """
    # By descriptor: inside the namespace the cgroup tree may be read-only (ProtectControlGroups=).
    cgroup_fd = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    options = ["dump", *(KEEP_TCP if keep_tcp else CLOSE_TCP)]
    options += SHELL_JOB if shell_job else []
    options += [*TRACK, f"--prev-images-dir={previous}"] if previous else []
    options += ["--leave-running", f"--freeze-cgroup=/proc/self/fd/{cgroup_fd}"]
    for external in outside:
        options += ["--external", external.dump]
    try:
        _run(main, images, options, cgroup_fd)
    finally:
        os.close(cgroup_fd)
    from liveupdated import tcpstream, timerfd  # noqa: PLC0415 - the launcher only restores

    timerfd.mend(images / timerfd.FILES)
    tcpstream.mend(images)


def _run(main: int, images: Path, options: list[str], *fds: int) -> None:
    """Run criu on the tree of `main`, in its mount and UTS namespace.  Raises SaveFailed."""
    criu_fd = os.open(CRIU, os.O_RDONLY | os.O_CLOEXEC)
    images_fd = os.open(images, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    command = ["nsenter", f"--target={main}", "--mount", "--uts", f"/proc/self/fd/{criu_fd}"]
    command += [*options, f"--tree={main}", *COMMON, f"--log-file={DUMP_LOG}"]
    command.append(f"--images-dir=/proc/self/fd/{images_fd}")
    # Its own limit is 10 s for collecting the processes, which a busy host exceeds (criu(8)).
    command.append(f"--timeout={DUMP_LIMIT_S:.0f}")
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=DUMP_LIMIT_S,
            pass_fds=(criu_fd, images_fd, *fds),
        )
    except subprocess.TimeoutExpired as error:
        raise SaveFailed("criu did not finish", f"no end after {DUMP_LIMIT_S:.0f} s") from error
    finally:
        os.close(criu_fd)
        os.close(images_fd)
    if done.returncode != 0:
        reason = first_error(images / DUMP_LOG) or done.stderr.strip()
        raise SaveFailed("criu could not dump it", reason)


def first_error(log: Path) -> str:
    """The first error in a log of CRIU: what follows it is mostly its consequence."""
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return ""
    found = re.search(r"Error \([^)]*\): (.*)", text)
    return found[1] if found else ""


def restore_error(log: Path) -> str:
    """The first error of a restore, with who has the pid where one was taken."""
    error = first_error(log)
    taken = re.match(r"Can't fork for (\d+): File exists", error)
    if not taken:
        return error
    try:
        holder = Path(f"/proc/{taken[1]}/comm").read_text().strip()
    except OSError:
        holder = "a process that has ended since"
    return f"its pid {taken[1]} was taken by {holder}"


def restore_command(
    images: Path,
    work: Path,
    fds: Mapping[str, int],
    *,
    keep_tcp: bool,
    shell_job: bool = False,
) -> list[str]:
    """The command that brings the processes back, detached; `fds` by `External.inherit`."""
    command = [CRIU, "restore", *COMMON, "--restore-detached"]
    command += KEEP_TCP if keep_tcp else CLOSE_TCP
    command += SHELL_JOB if shell_job else []
    command += [f"--images-dir={images}", f"--work-dir={work}", "--log-file=restore.log"]
    command += [f"--pidfile={work / 'pid'}"]
    for inherit, fd in fds.items():
        command += ["--inherit-fd", f"fd[{fd}]:{inherit}"]
    return command
