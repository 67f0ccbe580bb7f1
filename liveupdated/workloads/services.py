# SPDX-License-Identifier: LGPL-2.1-or-later
"""Services whose memory is carried: checkpointed by CRIU, restored by systemd in their own unit.

Save freezes the unit's cgroup and dumps it frozen.  After the jump a drop-in makes the unit's start
the restore of the checkpoint, this once: systemd starts it at its place in the boot, with its name,
cgroup, limits and sandbox, and tracks it from then on.  When that start fails, systemd's own
automatic restart starts the service afresh, from its own definition, which by then is back.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from liveupdated import criu, paths, systemd, tcp, timers, unitfiles
from liveupdated.carry import UnitRule, declared
from liveupdated.errors import LiveUpdateError, SaveFailed, ServiceError
from liveupdated.session import Json, Outcome, Verdict, Workload, write_durably
from liveupdated.timeline.marks import FROZEN, RUNNING, SAVED
from liveupdated.workloads import Marker, Result

if TYPE_CHECKING:
    from liveupdated.host import Host

KIND = "services"
RULE = UnitRule
# systemd reads drop-ins in the order of their names, whatever their folder: ours must be the last,
# after the override.conf of `systemctl edit`.
HOLD_DROPIN = "zzzz-liveupdated-hold.conf"
RESTORE_DROPIN = "zzzz-liveupdated-restore.conf"
FREEZE_LIMIT_S = 10.0
KILL_LIMIT_S = 30.0
START_LIMIT_S = 180
RUNNING_LIMIT_S = 400.0
WATCHDOG_PAUSE_US = 3_600_000_000

# Rough figures for a prediction before the first rehearsal: criu's own start and end, and memory
# written once and read once by a disk of 200 MB/s.
FIXED_COST_US = 1_500_000
BYTES_PER_US = 100

# From the checkpoint to the jump systemd must neither restart the service nor run its stop
# commands, which would find it dead.
HOLD = """\
# Written by liveupdated while this service is checkpointed.
[Service]
Restart=no
ExecStop=
ExecStopPost=
SuccessExitStatus=SIGKILL
"""

# CRIU gives each process its own credentials, capabilities, no-new-privileges and seccomp filters
# back, so none of them may bind the launcher: a filter on the launcher makes the restore hang
# (PTRACE_O_SUSPEND_SECCOMP needs an unfiltered tracer, ptrace(2)).  What makes the file system view
# stays: the restored processes live in it.
LIFTED = """\
CapabilityBoundingSet=~
AmbientCapabilities=
NoNewPrivileges=no
SystemCallFilter=
SystemCallArchitectures=
SystemCallLog=
RestrictAddressFamilies=
RestrictFileSystems=
RestrictNamespaces=no
RestrictRealtime=no
RestrictSUIDSGID=no
LockPersonality=no
MemoryDenyWriteExecute=no
PrivateDevices=no
ProtectClock=no
ProtectHostname=no
ProtectKernelLogs=no
ProtectKernelModules=no
ProtectKernelTunables=no
ProtectControlGroups=no
ProtectProc=default
ProcSubset=all
NoExecPaths=
ExecPaths=
SecureBits=
"""


# --- find ---


def find(host: "Host") -> Iterable[Workload]:
    """Every running service that is declared to be carried in memory."""
    for name, source in sorted(declared(host).items()):
        unit = host.units[name]
        facts: dict[str, Json] = {
            "main": int(unit.get("MainPID", "0")),
            "cgroup": unit.get("ControlGroup", ""),
            "files": unitfiles.unit_files(unit),
            "start": unitfiles.needs_start(host, name),
        }
        yield _judge(name, unit, source, facts)


def _judge(name: str, unit: systemd.Properties, source: str, facts: dict[str, Json]) -> Workload:
    workload = Workload(
        id=f"{KIND}:{name}",
        kind=KIND,
        name=name,
        verdict=Verdict.BLOCKS,
        reason="",
        source=source,
        facts=facts,
    )
    try:
        found = _unit_obstacles(unit)
        main, pids = _processes(workload)
        found += criu.obstacles(main, pids)
    except (LiveUpdateError, OSError) as error:
        found = [str(error)]
    if found:
        workload.reason = "its memory is to be carried, but " + "; ".join(found)
        return workload
    workload.verdict = Verdict.CARRIED
    workload.reason = f"memory carried by CRIU, as {source} says; {_tcp_sentence(pids)}"
    workload.bytes = sum(_memory_bytes(pid) for pid in pids)
    workload.cost_us = FIXED_COST_US + workload.bytes // BYTES_PER_US
    return workload


def _unit_obstacles(unit: systemd.Properties) -> list[str]:
    found = []
    if unit.get("NFileDescriptorStore", "0") not in ("", "0"):
        found.append("systemd holds descriptors for it (FileDescriptorStoreMax=)")
    sockets = [name for name in unit.get("TriggeredBy", "").split() if name.endswith(".socket")]
    if sockets:
        found.append(f"systemd holds its socket too ({', '.join(sockets)})")
    if unit.get("MainPID", "0") in ("", "0"):
        found.append("it has no main process")
    if unit.get("DefaultDependencies") == "no":
        found.append("it starts before the state folder can be read (DefaultDependencies=no)")
    dropins = [Path(path).name for path in unit.get("DropInPaths", "").split()]
    late = sorted(name for name in dropins if name > RESTORE_DROPIN)
    if late:
        found.append(f"its drop-in {', '.join(late)} is read after ours (way out: another name)")
    return found


def _processes(workload: Workload) -> tuple[int, list[int]]:
    cgroup = systemd.cgroup_path(workload.facts["cgroup"])
    main, pids = workload.facts["main"], systemd.cgroup_pids(cgroup)
    if main not in pids:
        raise ServiceError(f"main process {main} is not in the cgroup of {workload.name}")
    nested = [entry.name for entry in os.scandir(cgroup) if entry.is_dir()]
    if nested:
        raise ServiceError(
            f"{workload.name} has control groups of its own", ", ".join(nested), "Delegate=no"
        )
    return main, pids


def _sockets(pids: list[int]) -> tcp.Sockets:
    return tcp.sockets(pids[0], [inode for pid in pids for inode in criu.sockets(pid).values()])


def _tcp_sentence(pids: list[int]) -> str:
    number = len(_sockets(pids).connections)
    if tcp.available():
        return f"{tcp.sentence(number)} carried too" if number else "no TCP connection is open"
    return "its TCP connections are closed (way out: install nftables)"


def _memory_bytes(pid: int) -> int:
    """What CRIU will write: memory that no file backs (proc_pid_status(5), kB)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return sum(1024 * int(fields[key].split()[0]) for key in ("RssAnon", "RssShmem"))


# --- save, and undoing it ---


def hold_files(workload: Workload) -> dict[str, str]:
    if workload.verdict is not Verdict.CARRIED:
        return {}
    return {f"{workload.name}.d/{HOLD_DROPIN}": HOLD}


def save(workload: Workload, artifacts: Path, mark: Marker) -> None:
    if workload.verdict is not Verdict.CARRIED:  # its loss was agreed to
        return
    main, pids = _processes(workload)
    if found := criu.obstacles(main, pids):
        raise SaveFailed(f"{workload.name} cannot be carried", "; ".join(found))
    cgroup = systemd.cgroup_path(workload.facts["cgroup"])
    watchdog_us = timers.span_us(systemd.show_one(workload.name, "WatchdogUSec")["WatchdogUSec"])
    images = artifacts / "images"
    images.mkdir(mode=0o700, parents=True)
    _set_watchdog(main, WATCHDOG_PAUSE_US if watchdog_us else 0)
    keep_tcp = tcp.available()
    mark(FROZEN)
    try:
        if keep_tcp:  # before the freeze: what the kernel acknowledges after the dump would be lost
            tcp.hold(workload.name, _sockets(pids))
        _freeze(cgroup)
        pids = systemd.cgroup_pids(cgroup)  # none can come any more
        sockets = _sockets(pids)
        if keep_tcp:
            tcp.hold(workload.name, sockets)
        outside = criu.externals(pids)
        criu.dump(main, cgroup, images, outside, keep_tcp=keep_tcp)
        volatile = _save_volatile_files(workload.name, main, artifacts)
    except (LiveUpdateError, OSError, subprocess.SubprocessError) as error:
        _thaw(cgroup)
        _release(workload.name)
        _set_watchdog(main, watchdog_us)
        detail = f"{error.what}: {error.why}" if isinstance(error, LiveUpdateError) else str(error)
        raise SaveFailed(f"{workload.name} could not be checkpointed", detail) from error
    kept = tcp.to_json(sockets if keep_tcp else tcp.NONE)
    workload.saved = {"watchdog_us": watchdog_us, "launch": "", "tcp": kept}
    if sockets.connections:
        workload.saved["sockets"] = {str(pid): list(criu.sockets(pid)) for pid in pids}
    workload.saved["launch"] = _write_launch(artifacts, main, outside, volatile, kept)
    workload.bytes = sum(entry.stat().st_size for entry in os.scandir(images))
    mark(SAVED)


def _write_launch(
    artifacts: Path, main: int, outside: list[criu.External], volatile: bool, kept: Json
) -> str:
    """What the launcher needs, with the images' sizes and digests; returns its own digest."""
    data = json.dumps(
        {
            "outside": [dataclasses.asdict(external) for external in outside],
            "uts": criu.namespace(main, "uts") != criu.namespace(criu.HOST_PID, "uts"),
            "volatile": volatile,
            "tcp": kept,
            "files": {
                str(path.relative_to(artifacts)): fingerprint(path)
                for path in sorted((artifacts / "images").iterdir())
            },
        }
    ).encode()
    write_durably(artifacts / "launch.json", data)
    return hashlib.sha256(data).hexdigest()


def fingerprint(path: Path) -> list[int | str]:
    """Size, and the digest of all but the memory itself, whose reading would cost blackout."""
    if path.name.startswith("pages-"):
        stat = path.stat()
        return [stat.st_size, str(stat.st_mtime_ns)]
    data = path.read_bytes()
    return [len(data), hashlib.sha256(data).hexdigest()]


def _save_volatile_files(name: str, main: int, artifacts: Path) -> bool:
    """Keep what the service has in folders that do not outlive it: RuntimeDirectory=, PrivateTmp=.

    Sockets are left out (CRIU makes them).  Returns whether there was anything.
    """
    unit = systemd.show_one(name, "RuntimeDirectory", "PrivateTmp")
    folders = [f"run/{folder}" for folder in unit.get("RuntimeDirectory", "").split()]
    if unit.get("PrivateTmp", "no") != "no":
        folders += ["tmp", "var/tmp"]
    root = Path(f"/proc/{main}/root")
    folders = [folder for folder in folders if (root / folder).is_dir()]
    if not folders:
        return False
    archive = str(artifacts / "volatile.tar")
    command = ["tar", "--create", f"--file={archive}", "--xattrs", "--warning=no-file-ignored"]
    command += [f"--directory={root}/", "--", *folders]
    subprocess.run(command, check=True, capture_output=True, timeout=criu.DUMP_LIMIT_S)
    return True


def commit(workload: Workload) -> None:
    """Kill the frozen processes: SIGKILL ends a frozen cgroup without a single instruction.

    Left to the shutdown, systemd would thaw the unit before it stops it (unit_stop() in its
    unit.c), and it would run on for a moment.
    """
    cgroup = systemd.cgroup_path(workload.facts["cgroup"])
    for pid, descriptors in (workload.saved or {}).get("sockets", {}).items():
        tcp.part_silently(int(pid), descriptors)
    (cgroup / "cgroup.kill").write_text("1")
    _wait_for_event(cgroup, "populated 0", KILL_LIMIT_S)


def resume(workload: Workload, artifacts: Path) -> None:
    if workload.verdict is not Verdict.CARRIED:
        return
    cgroup = systemd.cgroup_path(workload.facts["cgroup"])
    main = workload.facts["main"]
    if cgroup.is_dir() and main in systemd.cgroup_pids(cgroup):
        _thaw(cgroup)
        _release(workload.name)
        if workload.saved:
            _set_watchdog(main, workload.saved["watchdog_us"])
    elif workload.saved:
        restore_in_place(workload, artifacts)
    else:
        raise ServiceError(f"{workload.name} is gone and was not saved")


def _release(name: str) -> None:
    """Let the network have the connections again; should nft fail, they come back in time."""
    if tcp.available():
        with contextlib.suppress(SaveFailed):
            tcp.release(name)


def _freeze(cgroup: Path) -> None:
    (cgroup / "cgroup.freeze").write_text("1")
    _wait_for_event(cgroup, "frozen 1", FREEZE_LIMIT_S)


def _thaw(cgroup: Path) -> None:
    (cgroup / "cgroup.freeze").write_text("0")


def _wait_for_event(cgroup: Path, event: str, limit_s: float) -> None:
    """Until cgroup.events (cgroup-v2.rst) shows `event`.  Raises SaveFailed."""
    end = time.monotonic() + limit_s
    try:
        while event not in systemd.read_cgroup(cgroup / "cgroup.events").splitlines():
            if time.monotonic() > end:
                raise SaveFailed(
                    f"{cgroup.name} does not reach '{event}'", f"after {limit_s:.0f} s"
                )
            time.sleep(0.01)
    except FileNotFoundError:  # systemd removed the cgroup once it was empty
        if event != "populated 0":
            raise


def _set_watchdog(main: int, watchdog_us: int) -> None:
    """Set the service's watchdog time in its name (sd_pid_notify(3)): frozen, it cannot answer.

    A drop-in would not do: systemd keeps the time that was in force when the service started.
    """
    if not watchdog_us:
        return
    stat = os.stat(f"/proc/{main}")
    sender = struct.pack("3i", main, stat.st_uid, stat.st_gid)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.connect("/run/systemd/notify")
        message = f"WATCHDOG_USEC={watchdog_us}\nWATCHDOG=1".encode()
        sock.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, sender)])


# --- restore ---


def boot_files(workload: Workload, artifacts: Path) -> dict[str, str]:
    """The drop-in that makes the unit's next start the restore; none once it has had its try."""
    work = restoring(workload.name)
    if not workload.saved or (work / "running").exists() or (work / "failed").exists():
        return {}
    launcher = f"{paths.LIBEXEC}/restore-unit {artifacts} {workload.saved['launch']} {work}"
    text = f"""\
# Written by liveupdated: this once the start of the service is the restore of its checkpoint.
[Unit]
After={paths.RESTORE_UNIT}
[Service]
Type=forking
PIDFile={work}/pid
NotifyAccess=main
ExecCondition=
ExecStartPre=
ExecStart=
ExecStart=!{launcher}
ExecStartPost=
ExecStartPost=!/usr/bin/touch {work}/running
ExecStop=
ExecStopPost=
ExecStopPost=!/usr/bin/touch {work}/failed
# If it fails: start afresh without telling the dependents.  By then the restore worker has had this
# file taken away, so the restart is the service's own.
Restart=on-failure
RestartMode=direct
RestartSec=10s
TimeoutStartSec={START_LIMIT_S}
ReadWritePaths=+{paths.RUNTIME}
{LIFTED}"""
    return {f"{workload.name}.d/{RESTORE_DROPIN}": text}


def restoring(name: str) -> Path:
    return paths.RESTORING / name


def restore(workload: Workload, artifacts: Path, mark: Marker) -> Result:
    if not workload.saved:
        return _afresh(workload, workload.reason)
    if workload.facts["start"]:
        unitfiles.start(workload.name, workload.facts["files"])
    try:
        result = _watch(workload)
    finally:
        _release(workload.name)
    mark(RUNNING)
    return result


def _watch(workload: Workload) -> Result:
    """Wait until systemd has started the unit from its checkpoint, or afresh after a failure."""
    work = restoring(workload.name)
    end = time.monotonic() + RUNNING_LIMIT_S
    while not (work / "failed").exists():
        if (work / "running").exists():
            return Result(Outcome.CARRIED, read_text(work / "note"))
        if time.monotonic() > end:
            (work / "failed").touch()
            break
        time.sleep(0.05)
    why = read_text(work / "error") or criu.first_error(work / "restore.log") or "no error was told"
    systemd.reload()  # the generator leaves out what failed: the definition is the unit's own
    fresh = _wait_active(workload.name)
    reason = f"its checkpoint could not be restored ({why}); "
    if fresh:
        return Result(Outcome.RESTARTED, reason + "started afresh, its memory is lost")
    return Result(Outcome.FAILED, reason + "and it did not start afresh either")


def _wait_active(name: str) -> bool:
    end = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end:
        unit = systemd.show_one(name, "ActiveState", "SubState")
        if unit.get("ActiveState") == "active":
            return True
        if unit.get("ActiveState") in ("failed", "inactive"):
            try:
                systemd.systemctl("reset-failed", "--", name)
                systemd.start(name)
            except ServiceError:
                return False
        time.sleep(0.2)
    return False


def restore_in_place(workload: Workload, artifacts: Path) -> None:
    """Bring a committed service back in the same boot.  Raises ServiceError when it cannot."""
    prepare(workload, artifacts)
    paths.CLAIMED.touch(mode=0o600)
    dropins = {
        f"{systemd.RUNTIME_UNITS}/{path}": text
        for path, text in boot_files(workload, artifacts).items()
    }
    systemd.write_files(dropins)
    try:
        systemd.reload()
        unitfiles.start(workload.name, workload.facts["files"])
        result = _watch_in_place(workload)
    finally:
        _release(workload.name)
        systemd.remove_files(dropins)
        systemd.reload()
    if result.outcome is not Outcome.CARRIED:
        _wait_active(workload.name)
        raise ServiceError(f"{workload.name} could not be resumed", result.reason)


def _watch_in_place(workload: Workload) -> Result:
    work = restoring(workload.name)
    end = time.monotonic() + RUNNING_LIMIT_S
    while time.monotonic() < end:
        if (work / "running").exists():
            return Result(Outcome.CARRIED)
        if (work / "failed").exists():
            break
        time.sleep(0.05)
    why = read_text(work / "error") or criu.first_error(work / "restore.log")
    return Result(Outcome.FAILED, why)


def prepare(workload: Workload, artifacts: Path) -> None:
    """Make the empty folder in which the restore of this unit tells how it goes, and keep the
    network from answering the peers of its connections."""
    work = restoring(workload.name)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(mode=0o700, parents=True)
    if workload.saved and tcp.available():
        with contextlib.suppress(SaveFailed):
            tcp.hold(workload.name, tcp.from_json(workload.saved["tcp"]))


def restart(workload: Workload) -> Result:
    return _afresh(workload, "its memory is lost: the machine did not come by this jump")


def _afresh(workload: Workload, lost: str) -> Result:
    """Memory is gone; boot starts the service by itself, or it is started like any other unit."""
    if workload.facts["start"]:
        try:
            unitfiles.start(workload.name, workload.facts["files"])
        except ServiceError as error:
            return Result(Outcome.FAILED, f"{lost}; {error}")
    if _wait_active(workload.name):
        return Result(Outcome.RESTARTED, lost)
    return Result(Outcome.FAILED, f"{lost}, and it does not start")


def settle() -> None:
    """Nothing was held: each drop-in ends with its unit's start."""


def read_text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
