# SPDX-License-Identifier: LGPL-2.1-or-later
"""The save step and its two continuations: commit (the jump is next) and resume (it is not).

What restarts by itself is recorded first; memory is frozen last, side by side.
"""

import os
import time

from liveupdated import criu, systemd
from liveupdated.carriers.choice import SPACE_RESERVE, choose, find
from liveupdated.errors import BadSession, Blocked, Cancelled, LiveUpdateError, NoSpace, SaveFailed
from liveupdated.session import (
    Session,
    State,
    Store,
    Verdict,
    Workload,
    boot_id,
    mark_now,
    to_json,
)
from liveupdated.timeline.marks import (
    COMMIT_END,
    JUMP_REQUESTED,
    RESUMING,
    RUNNING,
    SAVE_END,
    SAVE_START,
)
from liveupdated.update import bootfiles, budget, order, quickstop, writeout
from liveupdated.workloads import kind

POLL_S = 0.02
REHEARSAL = "rehearse"
"""The road of a session that never jumps."""
RESUMES_AT_ONCE = 8
"""Each waits most of its time for systemd, and those that wait share a daemon-reload."""
SAVED_VERDICTS = (Verdict.CARRIED, Verdict.RESTARTED, Verdict.REOPENED)


def run(store: Store) -> None:
    """Save every workload of the open session, or none; in a rehearsal, all that can be.

    Raises SaveFailed naming the workload, NoSpace, BudgetExceeded or Cancelled; then all run on and
    the session is abandoned.
    """
    session = open_session(store, State.PLANNED)
    _validate(session)
    session.state = State.SAVING
    session.mark(SAVE_START)
    store.store(session)
    try:
        spare = _choose_carrier(session)
        _look_ahead(session)
        _write_ahead(store, session, spare)
        writeout.ahead()
        _hold(session)
        _save_all(store, session)
        writeout.durable(store.carrier(session))
        budget.refuse_if_exceeded(session, budget.END)
        if session.road != REHEARSAL:
            bootfiles.write(store, session)
        session.mark(SAVE_END)
        session.state = State.SAVED
        store.store(session)
    except BaseException as error:
        undo(store, session, str(error) or "the save was interrupted")
        raise


def open_session(store: Store, *states: State) -> Session:
    """The open session, if it is in one of these states and of this boot.  Raises BadSession."""
    session = store.current()
    if session is None:
        raise BadSession("there is no open session")
    if session.state not in states:
        raise BadSession(f"session {session.id} is {session.state}", f"expected {states[0]}")
    if session.origin.boot_id != boot_id():
        raise BadSession(f"session {session.id} is of another boot")
    return session


def _validate(session: Session) -> None:
    """What the daemon has planned, once, before anything is frozen: pydantic takes its time."""
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 - not in the daemon

    try:
        TypeAdapter(Session).validate_python(to_json(session))
    except ValidationError as error:
        raise BadSession(f"session {session.id} has another shape", str(error)) from error


def _choose_carrier(session: Session) -> int:
    """As the plan did, of what there is now; how many bytes it can spare.  Raises NoSpace."""
    needed = sum(w.bytes for w in session.workloads if w.verdict is Verdict.CARRIED)
    cmdline = session.target.cmdline if session.target else None
    carrier = choose(find(), needed, cmdline)
    session.carrier = carrier.name
    spare = carrier.free_bytes - needed - SPACE_RESERVE
    if spare < 0:
        raise NoSpace(
            f"the state folder {carrier.folder} is full",
            f"{carrier.free_bytes >> 20} MiB are free, "
            f"the save needs {(needed + SPACE_RESERVE) >> 20} MiB",
            "make room there, or carry less",
        )
    return spare


def _look_ahead(session: Session) -> None:
    """What can be found out while all run on."""
    carried = [w for w in session.workloads if w.verdict is Verdict.CARRIED]
    if any(criu.KERNEL in workload.needs for workload in carried):
        criu.look_at_kernel()
    for workload in carried:
        if look := getattr(kind(workload.kind), "look_ahead", None):
            look(workload)


def _write_ahead(store: Store, session: Session, spare: int) -> None:
    """What can be written while all run on, as far as there is room to write it twice: a workload
    may change all of it until it is frozen."""
    for workload in session.workloads:
        ahead = getattr(kind(workload.kind), "write_ahead", None)
        if ahead and workload.verdict is Verdict.CARRIED and workload.bytes <= spare:
            artifacts = store.artifacts(session, workload.id)
            ahead(workload, artifacts)
            spare -= workload.bytes


def _hold(session: Session) -> None:
    files = hold_files(session)
    if session.stop == quickstop.QUICK:
        carried = {w.name for w in session.workloads if w.verdict is Verdict.CARRIED}
        files |= quickstop.files(quickstop.to_stop(carried))
    if files:
        systemd.write_files(files)
        systemd.reload()


def hold_files(session: Session) -> dict[str, str]:
    """The drop-ins in force while the session's workloads are saved; path below /run to text."""
    return {
        f"{systemd.RUNTIME_UNITS}/{path}": text
        for workload in session.workloads
        if workload.verdict in SAVED_VERDICTS
        for path, text in kind(workload.kind).hold_files(workload).items()
    }


def _save_all(store: Store, session: Session) -> None:
    todo = [w for w in session.workloads if w.verdict in SAVED_VERDICTS]
    # What takes long stands still longest in any order; what is quick is frozen last.
    frozen = order.longest_first([w for w in todo if w.verdict is Verdict.CARRIED])
    # And what has a limit is frozen when all others are saved.
    last = order.least_patient(frozen)
    first = [workload for workload in frozen if workload not in last]
    quick = [w for w in todo if w.verdict is not Verdict.CARRIED]
    begun = iter(range(len(todo)))

    def one(workload: Workload) -> None:
        systemd.notify(f"STATUS={next(begun)}/{len(todo)} saving {workload.name}")
        artifacts = store.artifacts(session, workload.id)
        artifacts.mkdir(mode=0o700, parents=True, exist_ok=True)
        planned = workload.verdict
        budget.refuse_if_exceeded(session, workload.id)
        try:
            kind(workload.kind).save(
                workload, artifacts, lambda name: session.marks.append(mark_now(name, workload.id))
            )
        except SaveFailed as error:
            if session.road != REHEARSAL:
                raise
            # It runs on, and the others are tried too: all obstacles are told at once.
            workload.saved = None
            session.notes.append(str(error))
            return
        if workload.verdict is not planned:  # it was to be carried only if possible
            session.notes.append(f"{workload.id} is {workload.verdict}: {workload.reason}")
        budget.refuse_if_exceeded(session, workload.id)

    processors = os.cpu_count() or 1
    for group, threads in ((quick, 1), (first, processors), (last, processors)):
        order.each(group, one, threads, last_to_first=True)


def commit(store: Store) -> None:
    """Wait until the jump of the open session is asked for, then end what was frozen; from here on
    only a restore brings it back.

    The wait is for the blackout's sake: this worker starts beside the save, while all still run.
    """
    session = _asked_for(store)
    session.state = State.JUMPING
    store.store(session)
    try:
        _commit_all(session)
    except (LiveUpdateError, OSError) as error:
        undo(store, session, f"the workloads could not be ended for the jump: {error}")
        raise SaveFailed("the workloads could not be ended for the jump", str(error)) from error
    session.mark(COMMIT_END)
    store.store(session)


def _asked_for(store: Store) -> Session:
    """The open session, once the daemon has asked logind for its jump.

    Raises Cancelled when the save was undone instead.
    """
    while stored := store.stamp():
        session = open_session(store, State.SAVED, State.SAVING, State.PLANNED)
        if any(mark.name == JUMP_REQUESTED for mark in session.marks):
            return open_session(store, State.SAVED)
        while store.stamp() == stored:
            time.sleep(POLL_S)
    raise Cancelled("the jump was called off")


def _commit_all(session: Session) -> None:
    for workload in reversed(session.workloads):
        if workload.saved is not None:
            kind(workload.kind).commit(workload)


def resume(store: Store, reason: str) -> None:
    """The update is off: every workload of the open session runs on where it stood."""
    session = open_session(store, State.PLANNED, State.SAVING, State.SAVED, State.JUMPING)
    undo(store, session, reason)


def resume_after_failure(store: Store, service_result: str) -> None:
    """ExecStopPost= of the save unit (systemd.exec(5), $SERVICE_RESULT): nothing stays frozen."""
    session = store.current()
    if service_result == "success" or session is None or session.origin.boot_id != boot_id():
        return
    # A rehearsal ends what it saved before it brings it back.
    if session.state is not State.SAVING and session.road != REHEARSAL:
        return
    undo(store, session, f"the save worker ended early ({service_result})")


def rehearse(store: Store) -> None:
    """Save, end and restore every workload in place: the whole road but for the jump.

    Raises, once all run again, SaveFailed when one could not be saved or did not come back from its
    checkpoint, and Blocked when the plan knew it.
    """
    told = len(open_session(store, State.PLANNED).notes)  # of the participants
    run(store)
    session = open_session(store, State.SAVED)
    _commit_all(session)
    undo(store, session, "", State.REHEARSED)
    blocked = [f"{w.id}: {w.reason}" for w in session.workloads if w.verdict is Verdict.BLOCKS]
    obstacles = session.notes[told:]
    if obstacles or blocked:
        error = SaveFailed if obstacles else Blocked
        raise error("the rehearsal found obstacles", "; ".join([*obstacles, *blocked]))


def undo(store: Store, session: Session, reason: str, end: State = State.ABANDONED) -> None:
    """Resume all, take the holds away, and close the session."""
    failures: list[str] = []

    def one(workload: Workload) -> None:
        try:
            session.mark(RESUMING, workload.id)
            kind(workload.kind).resume(workload, store.artifacts(session, workload.id))
            session.mark(RUNNING, workload.id)
        except (LiveUpdateError, OSError) as error:
            failures.append(f"{workload.id} could not be resumed: {error}")

    saved = [w for w in session.workloads if w.verdict in SAVED_VERDICTS]
    order.each(saved, one, RESUMES_AT_ONCE)
    held = [*hold_files(session), *(quickstop.FILES if session.stop == quickstop.QUICK else ())]
    if held:
        systemd.remove_files(held)
        systemd.reload()
    session.state = end
    session.reason = reason
    session.notes += failures
    store.close(session)
