# SPDX-License-Identifier: LGPL-2.1-or-later
"""The document that flows through every step of a live update, and how it is made durable.

A session is one folder ``sessions/<id>/`` of the state folder: ``session.json`` and one folder of
artifacts a workload.  The symbolic link ``current`` names the session that is open; there is none
when no update is under way.  Every step loads the session, adds to it, stores it, and only then
lets the next step begin, so there is one writer at a time.

Standard library only: the restore worker reads this on the blackout's clock.
"""

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from liveupdated import paths
from liveupdated.errors import BadSession, NotFound

FORMAT = 1

Json = Any
"""What json.loads gives: the type system has no better word for it."""


class Verdict(StrEnum):
    """What a live update would do to a workload."""

    CARRIED = "carried"
    RESTARTED = "restarted"
    REOPENED = "reopened"
    LOST = "lost"
    BLOCKS = "blocks"


class Outcome(StrEnum):
    """What became of a workload."""

    CARRIED = "carried"
    RESTARTED = "restarted"
    REOPENED = "reopened"
    LOST = "lost"
    FAILED = "failed"


class State(StrEnum):
    """How far a session has come.  The order is the order of the steps."""

    PLANNED = "planned"
    SAVING = "saving"
    SAVED = "saved"
    JUMPING = "jumping"
    RESTORING = "restoring"
    RESTORED = "restored"
    # the ends
    CONFIRMED = "confirmed"
    DEGRADED = "degraded"  # arrived, but a workload or a health check failed
    MISSED = "missed"  # came up in another kernel, or not by our jump
    ABANDONED = "abandoned"  # before the jump; every workload resumed
    REHEARSED = "rehearsed"

    @property
    def open(self) -> bool:
        """Whether a step is still to come."""
        return self in _OPEN


_OPEN = {
    State.PLANNED,
    State.SAVING,
    State.SAVED,
    State.JUMPING,
    State.RESTORING,
    State.RESTORED,
}


@dataclass
class Mark:
    """A moment of the ledger.

    Both clocks are kept: `boottime_us` (CLOCK_BOOTTIME) is exact within one boot, `realtime_us`
    (CLOCK_REALTIME, UTC) ties two boots together, and their difference shows a clock step.
    """

    name: str
    realtime_us: int
    boottime_us: int
    boot_id: str
    workload: str = ""


@dataclass
class Workload:
    """Something that runs on the host and that somebody would miss."""

    id: str
    """`kind:name`; the same for the same thing in every plan."""
    kind: str
    """The module below `liveupdated.workloads` that knows it."""
    name: str
    verdict: Verdict
    reason: str
    bytes: int = 0
    """Memory or disk state to be carried, predicted."""
    cost_us: int = 0
    """Time from frozen to running, without the jump, predicted."""
    max_blackout_us: int = 0
    """How long it may stand still; 0 is no limit."""
    source: str = ""
    """The file of the rule that decided; empty when it was the kind's default."""
    provides: list[str] = field(default_factory=list)
    """What others may need, as `unit:NAME`, `path:FOLDER`, `link:NAME`, `device:ADDRESS`."""
    needs: list[str] = field(default_factory=list)
    """What has to be there first, in the same words (`liveupdated.update.order`)."""
    facts: dict[str, Json] = field(default_factory=dict)
    """What `find` learned and `save` needs; the kind's own business."""
    saved: dict[str, Json] | None = None
    """What `save` left for `restore`; None while not saved."""
    optional: bool = False
    """To be carried only where that is possible: it restarts, rather than blocks."""
    candidate: str = ""
    """Why it would be worth carrying, where nobody has said that it should be."""
    outcome: Outcome | None = None
    outcome_reason: str = ""
    starts_afresh: bool = True
    """Whether, its memory lost, it can be started again: else agreeing to that loses it."""
    declaration: dict[str, str] = field(default_factory=dict)
    """What a rule says that names it, where that is more than its name."""
    restore_weight: int = 100
    """StartupCPUWeight= of the unit that brings it back (systemd.resource-control(5))."""


@dataclass
class Boot:
    """One run of one kernel."""

    boot_id: str
    release: str
    cmdline: str


@dataclass
class Target:
    """The kernel that was staged, as it was loaded."""

    kernel: str
    """Catalogue id; empty when somebody else loaded it (`kexec -l`)."""
    release: str
    image: str
    image_sha256: str
    initrds: list[str]
    cmdline: str
    token: str
    """Random; also on the new kernel's command line, so that it can tell our jump from any boot."""
    method: str = "kexec_file_load"


@dataclass
class Session:
    """The record of one live update, from plan to confirmed or rolled back."""

    id: str
    state: State
    road: str
    """Who asked: `update`, `rollback`, `rehearse`, `timer`; `operator`: a bare systemctl kexec."""
    machine_id: str
    origin: Boot
    created_us: int
    rung: str = "live-update"
    target: Target | None = None
    workloads: list[Workload] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    reason: str = ""
    """Why it ended as it did, in a sentence; empty when all went well."""
    predicted_blackout_us: int = 0
    predicted_jump_us: int = 0
    """Of that, what passes between the save and the restore."""
    max_blackout_us: int = 0
    """The save is given up when the blackout would be longer; 0 is no limit."""
    stop: str = "orderly"
    """How the old userspace ends: `orderly` or `quick` (`liveupdated.update.quickstop`)."""
    arrival: Boot | None = None
    """The boot after the jump; None before."""
    carrier: str = "disk"
    """Where the saved state travels (`liveupdated.carriers`)."""
    notes: list[str] = field(default_factory=list)
    """What the guard, restore and health noticed, in sentences."""

    @property
    def returning(self) -> list[Workload]:
        """All but what is lost: something is done for them in the boot after the jump."""
        return [workload for workload in self.workloads if workload.verdict is not Verdict.LOST]

    def workload(self, workload_id: str) -> Workload:
        for workload in self.workloads:
            if workload.id == workload_id:
                return workload
        raise NotFound(f"workload {workload_id} is not in session {self.id}")

    def mark(self, name: str, workload: str = "") -> Mark:
        """Add a mark taken now and return it."""
        mark = mark_now(name, workload)
        self.marks.append(mark)
        return mark


def mark_now(name: str, workload: str = "") -> Mark:
    return Mark(
        name=name,
        realtime_us=time.clock_gettime_ns(time.CLOCK_REALTIME) // 1000,
        boottime_us=time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000,
        boot_id=boot_id(),
        workload=workload,
    )


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def machine_id() -> str:
    return (paths.ROOT / "etc/machine-id").read_text().strip()


def this_boot() -> Boot:
    return Boot(
        boot_id=boot_id(),
        release=os.uname().release,
        cmdline=Path("/proc/cmdline").read_text().strip(),
    )


def new_session(road: str) -> Session:
    """A session of this machine and boot that has done nothing yet; not stored."""
    return Session(
        id=os.urandom(16).hex(),
        state=State.PLANNED,
        road=road,
        machine_id=machine_id(),
        origin=this_boot(),
        created_us=time.time_ns() // 1000,
    )


# --- to and from JSON ---


def to_json(session: Session) -> dict[str, Json]:
    return dataclasses.asdict(session)


def from_json(data: dict[str, Json]) -> Session:
    """The session in `data`, trusted as it is.

    Raises BadSession when a field is missing or unknown.  The save worker, which has the time, also
    validates the types; restore trusts the digest.
    """
    try:
        data = dict(data)
        data["state"] = State(data["state"])
        data["origin"] = Boot(**data["origin"])
        data["arrival"] = Boot(**data["arrival"]) if data["arrival"] else None
        data["target"] = Target(**data["target"]) if data["target"] else None
        data["workloads"] = [workload_from_json(w) for w in data["workloads"]]
        data["marks"] = [Mark(**m) for m in data["marks"]]
        return Session(**data)
    except (KeyError, TypeError, ValueError) as error:
        raise BadSession("the session document has another shape", str(error)) from error


def workload_from_json(data: dict[str, Json]) -> Workload:
    data = dict(data)
    data["verdict"] = Verdict(data["verdict"])
    data["outcome"] = Outcome(data["outcome"]) if data["outcome"] else None
    return Workload(**data)


# --- on disk ---


def write_durably(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace `path` so that after a power cut it holds all of the old or all of the new bytes."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(fd)
    os.rename(temporary, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def remove_tree(folder: Path) -> None:
    """Delete it, as far as that can be done; mostly it is not there."""
    if folder.exists():
        import shutil  # noqa: PLC0415 - with all its compressors: not for a restore

        shutil.rmtree(folder, ignore_errors=True)


KEPT_SESSIONS = 100
"""How many are remembered."""


class Store:
    """The sessions of one state folder."""

    def __init__(self, root: Path = paths.STATE) -> None:
        self.root = root
        self.sessions = root / "sessions"
        self.carriers = {"disk": self.sessions, "pmem": root / paths.PMEM.name}
        self.current_link = root / "current"

    def folder(self, session_id: str) -> Path:
        if not session_id.isalnum():
            raise NotFound(f"{session_id!r} is no session id")
        return self.sessions / session_id

    def artifacts(self, session: Session, workload_id: str) -> Path:
        """Where a workload's saved state lies; the folder name is safe whatever the id holds.

        Raises BadSession for a carrier that this version does not know.
        """
        name = hashlib.sha256(workload_id.encode()).hexdigest()[:16]
        return self.carrier(session) / self.folder(session.id).name / name

    def carrier(self, session: Session) -> Path:
        """The folder of the carrier that the session travels by; raises BadSession as above."""
        if session.carrier not in self.carriers:
            raise BadSession(f"session {session.id} travels by {session.carrier!r}")
        return self.carriers[session.carrier]

    def store(self, session: Session) -> None:
        """Write the session durably, in an envelope with its digest."""
        body = json.dumps(to_json(session), sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(body.encode()).hexdigest()
        folder = self.folder(session.id)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = f'{{"format":{FORMAT},"sha256":"{digest}","session":{body}}}\n'
        write_durably(folder / "session.json", data.encode())

    def stamp(self) -> tuple[int, ...]:
        """Another whenever the current session was stored; empty when there is none."""
        try:
            stat = (self.current_link / "session.json").stat()
        except FileNotFoundError:
            return ()
        # The number of a file that was replaced is soon given again.
        return stat.st_ino, stat.st_mtime_ns, stat.st_size

    def load(self, session_id: str) -> Session:
        """The stored session.  Raises NotFound, or BadSession when it was altered."""
        path = self.folder(session_id) / "session.json"
        try:
            envelope = json.loads(path.read_bytes())
            if envelope["format"] != FORMAT:
                raise BadSession(
                    f"session {session_id} has format {envelope['format']}",
                    f"this version reads format {FORMAT}",
                )
            body = json.dumps(envelope["session"], sort_keys=True, separators=(",", ":"))
            if hashlib.sha256(body.encode()).hexdigest() != envelope["sha256"]:
                raise BadSession(f"session {session_id} was altered", "its digest does not fit")
        except FileNotFoundError as error:
            raise NotFound(f"there is no session {session_id}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise BadSession(f"session {session_id} cannot be read", str(error)) from error
        return from_json(envelope["session"])

    def ids(self) -> list[str]:
        """All session ids, newest first."""
        if not self.sessions.is_dir():
            return []
        stamped = [
            (entry.stat().st_mtime_ns, entry.name)
            for entry in os.scandir(self.sessions)
            if entry.is_dir(follow_symlinks=False) and entry.name.isalnum()
        ]
        return [name for _, name in sorted(stamped, reverse=True)]

    def prune(self) -> list[str]:
        """Forget the oldest sessions beyond KEPT_SESSIONS, never the open one; their ids."""
        current = (
            Path(os.readlink(self.current_link)).name if self.current_link.is_symlink() else ""
        )
        old = [session_id for session_id in self.ids()[KEPT_SESSIONS:] if session_id != current]
        for session_id in old:
            remove_tree(self.folder(session_id))
        return old

    def all(self) -> Iterator[Session]:
        """Every readable session, newest first; an unreadable one is left out."""
        for session_id in self.ids():
            try:
                yield self.load(session_id)
            except (NotFound, BadSession):
                continue

    def current(self) -> Session | None:
        """The open session, or None.  Raises BadSession when it cannot be trusted."""
        try:
            session_id = Path(os.readlink(self.current_link)).name
        except FileNotFoundError:
            return None
        return self.load(session_id)

    def open(self, session: Session) -> None:
        """Store `session` and make it the current one."""
        self.store(session)
        temporary = self.current_link.with_name(f".current.{os.getpid()}")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(Path("sessions") / session.id)
        os.rename(temporary, self.current_link)
        sync_folder(self.root)

    def close(self, session: Session) -> None:
        """Store `session` in an end state; it is no longer current and its artifacts go."""
        if session.state.open:
            raise BadSession(f"session {session.id} is still {session.state}")
        self.store(session)
        self.current_link.unlink(missing_ok=True)
        sync_folder(self.root)
        for entry in os.scandir(self.folder(session.id)):
            if entry.is_dir(follow_symlinks=False):
                remove_tree(Path(entry.path))
        remove_tree(self.carriers["pmem"] / session.id)
