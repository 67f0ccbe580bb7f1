# SPDX-License-Identifier: LGPL-2.1-or-later
"""org.liveupdate1.Session"""

from collections import Counter
from typing import Any

from liveupdated import contract
from liveupdated.api.rows import Row, outcome_row
from liveupdated.session import Session
from liveupdated.timeline.ledger import BLACKOUT, ledger, phases


class SessionObject:
    """A session on the bus."""

    def __init__(self, session: Session) -> None:
        self.id = session.id
        self.update(session)

    def update(self, session: Session) -> None:
        """It has come further."""
        self.session = session
        # Asked for with every list of the sessions, and not free.
        self.blackout = ledger(session).blackout_us
        self.outcomes = dict(Counter(str(w.outcome) for w in session.workloads if w.outcome))

    @property
    def path(self) -> str:
        return contract.object_path("session", self.id)

    @property
    def state(self) -> str:
        return str(self.session.state)

    @property
    def road(self) -> str:
        return self.session.road

    @property
    def rung(self) -> str:
        return self.session.rung

    @property
    def reason(self) -> str:
        return self.session.reason

    @property
    def created(self) -> int:
        return self.session.created_us

    @property
    def origin_kernel(self) -> str:
        return self.session.origin.release

    @property
    def target_kernel(self) -> str:
        return self.session.target.release if self.session.target else ""

    @property
    def arrival_kernel(self) -> str:
        return self.session.arrival.release if self.session.arrival else ""

    @property
    def carrier(self) -> str:
        return self.session.carrier

    @property
    def stop(self) -> str:
        return self.session.stop

    @property
    def predicted_blackout(self) -> int:
        return self.session.predicted_blackout_us

    @property
    def notes(self) -> list[str]:
        return self.session.notes

    @property
    def workloads(self) -> list[Row]:
        frozen = {
            phase.workload: phase.duration_us
            for phase in phases(self.session)
            if phase.name == BLACKOUT
        }
        return [outcome_row(w, frozen.get(w.id, 0)) for w in self.session.workloads]

    @property
    def marks(self) -> list[list[Any]]:
        return [
            [mark.name, mark.realtime_us, mark.boottime_us, mark.boot_id, mark.workload]
            for mark in self.session.marks
        ]

    @property
    def phases(self) -> list[list[Any]]:
        return [
            [phase.name, phase.start_us, phase.duration_us, phase.workload]
            for phase in phases(self.session)
        ]

    @property
    def clock_steps(self) -> list[list[Any]]:
        return [
            [step.boot_id, step.after, step.before, step.step_us]
            for step in ledger(self.session).clock_steps
        ]

    @property
    def uncertainty(self) -> int:
        return ledger(self.session).uncertainty_us

    @property
    def timeline_notes(self) -> list[str]:
        return ledger(self.session).notes
