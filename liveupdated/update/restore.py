# SPDX-License-Identifier: LGPL-2.1-or-later
"""The restore step: claim the session, once, and see every workload come back.

This is on the blackout's clock: standard library only, here and in all it imports (a test holds
that).
"""

import contextlib
import os
import sys
import time
from threading import Thread

from liveupdated import instructions, paths, systemd, tcp, unitrestore
from liveupdated.carriers import pmem
from liveupdated.errors import BadSession, LiveUpdateError, SaveFailed, ServiceError
from liveupdated.session import (
    Boot,
    Mark,
    Outcome,
    Session,
    State,
    Store,
    Verdict,
    Workload,
    mark_now,
    this_boot,
    write_durably,
)
from liveupdated.timeline.marks import (
    CLAIMED,
    KERNEL_START,
    RESTORE_END,
    RESTORE_START,
    RUNNING,
    STOPPED,
    at_boottime,
    at_realtime,
)
from liveupdated.update import bootfiles, guard, order
from liveupdated.workloads import Result, kind

STOPPED_FILE = "stopped"
"""In the session's folder; touched by liveupdated-stopped.service as the last act of a shutdown."""

BOOT_LIMIT_S = 120.0
ENDED_POLL_S = 1.0
READ_AHEAD_BYTES = 1 << 20
"""Files below that size are quicker read than announced."""
WRITABLE_LIMIT_S = 60.0


def main() -> int:
    """The restore worker.  Fails only when the session itself cannot be trusted."""
    start = mark_now(RESTORE_START)
    store = Store()
    _await_writable(store)
    try:
        session = store.current()
        if session is None or guard.same_boot(session, this_boot()):
            systemd.notify("READY=1\nSTATUS=nothing to restore")
            return 0
        if session.state in (State.RESTORING, State.RESTORED) and paths.CLAIMED.exists():
            raise BadSession(
                f"session {session.id} was claimed in this boot before",
                "a restore never runs twice",
            )
        reason = claim(store, session, start)
    except LiveUpdateError as error:
        print(f"liveupdated: {error}", file=sys.stderr)
        return 1
    systemd.notify("READY=1\nSTATUS=restoring")
    bring_back(store, session, bool(reason))
    return 0


def _await_writable(store: Store) -> None:
    """Until systemd-remount-fs.service has had its say about a root that the kernel has mounted
    read-only: it takes about as long as the start of this."""
    end = time.monotonic() + WRITABLE_LIMIT_S
    while os.statvfs(store.root).f_flag & os.ST_RDONLY and time.monotonic() < end:
        time.sleep(0.01)


def claim(store: Store, session: Session, start: Mark) -> str:
    """Make this boot the session's, durably; returns why memory cannot come back, or nothing."""
    boot = this_boot()
    reason = guard.missed(session, boot)
    session.marks += _marks_of_the_jump(store, session, start)
    session.arrival = boot
    session.state = State.RESTORING
    if reason:
        session.reason = reason
    if not reason:
        _mount_carrier(session, boot)
        Thread(target=_read_ahead, args=(store, session), daemon=True).start()
        _make_wait(store, session)
        with contextlib.suppress(SaveFailed), tcp.held_together():
            for workload in session.returning:
                kind(workload.kind).prepare(workload, store.artifacts(session, workload.id))
    if reason and bootfiles.generated(store, session):
        # The generator looks at less than the guard: without these the units are their own.
        bootfiles.forget(store, session)
        systemd.reload()
    session.mark(CLAIMED)
    store.store(session)
    paths.RUNTIME.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_durably(paths.CLAIMED, session.id.encode())
    if not reason and not bootfiles.generated(store, session):
        # The state folder was not mounted yet when the generators ran: now it is.
        systemd.reload()
        if not bootfiles.generated(store, session):
            reason = "the generator did not write what the restore needs (see the journal)"
            session.reason = reason
            store.store(session)
    return reason


def _mount_carrier(session: Session, boot: Boot) -> None:
    """No boot mounts memory that another kernel may have used: only here it is known to be as it
    was left.  What travelled there and is not there is found missing by its own restore."""
    if session.carrier != "pmem" and not pmem.kept(session.origin.cmdline, boot.cmdline):
        return
    try:
        pmem.mount()
    except ServiceError as error:
        # After a reboot in between there is nothing on it, and the host is no worse for that.
        session.notes.append(str(error))


def _read_ahead(store: Store, session: Session) -> None:
    """Have the kernel read what is about to be restored, first what is to be back first: the disk
    has nothing else to do until the restores begin.

    As much as half of the memory that is free can take; the rest is for the restores themselves.
    """
    spare = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    for workload in sorted(session.returning, key=lambda one: one.restore_weight, reverse=True):
        for folder, _, names in os.walk(store.artifacts(session, workload.id)):
            for name in names:
                with contextlib.suppress(OSError):
                    spare -= _announce(f"{folder}/{name}", spare)


def _announce(path: str, spare: int) -> int:
    """That it will be needed, if it is large and fits; how many bytes that are.  Raises OSError."""
    size = os.lstat(path).st_size
    if not READ_AHEAD_BYTES <= size <= spare:
        return 0
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_WILLNEED)
    finally:
        os.close(fd)
    return size


def _make_wait(store: Store, session: Session) -> None:
    """Systemd starts launchers in its own order: those of workloads that need others wait."""
    paths.WAITING.mkdir(mode=0o700, parents=True, exist_ok=True)
    for workload_id, others in order.needed(session.workloads).items():
        if others:
            instructions.waits(store.artifacts(session, workload_id)).touch()


def _marks_of_the_jump(store: Store, session: Session, start: Mark) -> list[Mark]:
    marks = [at_boottime(KERNEL_START, 0, start), start]
    try:
        stopped = (store.folder(session.id) / STOPPED_FILE).stat()
    except FileNotFoundError:
        return marks
    return [at_realtime(STOPPED, stopped.st_mtime_ns // 1000, session.marks[-1]), *marks]


def bring_back(store: Store, session: Session, missed: bool) -> None:
    """Restore each workload once those that it needs are back, and record each outcome."""

    def one(workload: Workload) -> None:
        result = attempt(workload)
        workload.outcome = result.outcome
        workload.outcome_reason = result.reason
        session.marks += result.marks

    def attempt(workload: Workload) -> Result:
        if workload.verdict is Verdict.LOST:
            return Result(Outcome.LOST, workload.reason)
        try:
            if missed:
                return kind(workload.kind).restart(workload)
            artifacts = store.artifacts(session, workload.id)
            instructions.waits(artifacts).unlink(missing_ok=True)
            return kind(workload.kind).restore(
                workload, artifacts, lambda name: session.marks.append(mark_now(name, workload.id))
            )
        except Exception as error:  # one bad workload must not take the others along
            return Result(Outcome.FAILED, str(error))

    # Systemd may start one only after another: none must wait for a thread.
    order.each(session.workloads, one, max(1, len(session.workloads)))
    session.mark(RESTORE_END)
    session.state = State.RESTORED
    store.store(session)
    if any(mark.name == RUNNING for mark in session.marks):
        _give_units_back()


def _give_units_back() -> None:
    """The generator has nothing to add any more: the units are their own again.

    It can wait: systemd does nothing else meanwhile, and the network, through which the workloads
    are asked, is not up yet.
    """
    boot = Thread(target=_await_boot)
    boot.start()
    while boot.is_alive():
        unitrestore.give_back_what_ended()
        boot.join(ENDED_POLL_S)
    unitrestore.settle()


def _await_boot() -> None:
    with contextlib.suppress(ServiceError):  # degraded is an answer too
        systemd.systemctl("is-system-running", "--wait", timeout_s=BOOT_LIMIT_S)
