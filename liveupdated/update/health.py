# SPDX-License-Identifier: LGPL-2.1-or-later
"""The health step: the boot is done; is all well?  Then the session is confirmed and closed."""

import subprocess
import time

from liveupdated import paths, systemd, workloads
from liveupdated.config import Config
from liveupdated.errors import NotFound
from liveupdated.session import Outcome, Session, State, Store, Verdict, boot_id
from liveupdated.timeline.marks import HEALTH_END

RESTORE_LIMIT_S = 600.0
"""More than any kind waits for its workloads."""

EXPECTED = {
    Verdict.CARRIED: Outcome.CARRIED,
    Verdict.RESTARTED: Outcome.RESTARTED,
    Verdict.REOPENED: Outcome.REOPENED,
    Verdict.LOST: Outcome.LOST,
}


def run(store: Store, config: Config) -> None:
    """Judge the open session of this boot and close it."""
    from liveupdated.timeline.boot import boot_marks  # noqa: PLC0415 - the worker's alone

    session = store.current()
    if session is None or session.origin.boot_id == boot_id():
        return
    # First: whatever happens to the checks, what this boot held back may be started from now on.
    for name in workloads.names():
        workloads.kind(name).settle()
    session = _when_restored(store, session)
    session.notes += _shortfalls(session)
    failed = _failed_checks(config)
    session.notes += failed
    session.marks += boot_marks()
    session.mark(HEALTH_END)
    session.state = _end(session, failed)
    store.close(session)


def confirm(store: Store) -> Session:
    """Accept this kernel by hand, whatever the checks said.  Raises NotFound, BadSession."""
    session = store.current() or next(store.all(), None)
    if session is None or session.arrival is None or session.arrival.boot_id != boot_id():
        raise NotFound("there is nothing to confirm", "this boot is not the end of an update")
    session.state = State.CONFIRMED
    session.notes.append("confirmed by hand")
    store.close(session)
    return session


def _when_restored(store: Store, session: Session) -> Session:
    """The session once the restore worker, which outlives its own READY=1, has ended."""
    end = time.monotonic() + RESTORE_LIMIT_S
    while session.state is not State.RESTORED and time.monotonic() < end:
        if systemd.show_one(paths.RESTORE_UNIT, "MainPID").get("MainPID", "0") == "0":
            return store.load(session.id)
        time.sleep(0.5)
        session = store.load(session.id)
    return session


def _end(session: Session, failed: list[str]) -> State:
    if session.reason:
        return State.MISSED
    short = failed or _shortfalls(session) or session.state is not State.RESTORED
    return State.DEGRADED if short else State.CONFIRMED


def _shortfalls(session: Session) -> list[str]:
    return [
        f"{w.id} was to be {w.verdict}, and is {w.outcome}: {w.outcome_reason}"
        for w in session.workloads
        if w.outcome is not EXPECTED.get(w.verdict, w.outcome)
    ]


def _failed_checks(config: Config) -> list[str]:
    failed = []
    for command in config.health.commands:
        try:
            done = subprocess.run(
                command,
                check=False,
                capture_output=True,
                text=True,
                timeout=config.health.timeout_s,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            failed.append(f"health check {command[0]}: {error}")
            continue
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            failed.append(f"health check {command[0]} exited with {done.returncode} {said}")
    return failed
