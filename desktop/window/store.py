# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is known about the host, kept up to date by the daemon's signals.  Nothing is polled."""

from collections.abc import Callable
from glob import escape
from typing import Any

from liveupdated import contract
from liveupdated.ctl import shapes, shaping
from liveupdated.ctl.shaping import Properties

from .daemon import Daemon, Problem, Signal, Then, options
from .toolkit import GLib

_PAUSE_MS = 150
"""Signals come in swarms: one look for all of them."""

Record = Callable[[shapes.SessionDetail, shapes.Timeline], None]


class Store:
    """The daemon's answers; `changed` is called when there are newer ones."""

    def __init__(self, daemon: Daemon, changed: Callable[[], None]) -> None:
        self.manager: Properties | None = None
        self.kernels: list[shapes.Kernel] = []
        self.sessions: list[shapes.Session] = []
        self.paths: dict[str, str] = {}
        """Of each session by its id, its object."""
        self.job: tuple[str, Properties] | None = None
        """The one under way: its object and its properties."""
        self.plan: shapes.Plan | None = None
        self.planning = False
        self.problem: Problem | None = None
        """Why nothing is known."""
        self.plan_problem: Problem | None = None
        self.target = ""
        """Kernel that the plan is for; empty for the newest."""
        self.accepted: set[str] = set()
        """Workloads that may be lost."""
        self.failed: Callable[[Problem], None] = lambda _: None
        """Told what became of an order, when that is nothing good."""
        self.finished: Callable[[str], None] = lambda _: None
        """Told the object of a session that is over."""
        self._daemon = daemon
        self._changed = changed
        self._waiting = 0
        self._plan_again = False
        daemon.listen(self._heard)

    # --- what is known ---

    def refresh(self) -> None:
        """Ask for everything but the plan."""
        call = self._daemon.call
        self._daemon.properties(contract.ROOT, contract.MANAGER, self._got_manager, self._unknown)
        call("ListKernels", None, self._got_kernels, self._unknown)
        call("ListSessions", None, self._got_sessions, self._unknown)
        call("ListJobs", None, self._got_jobs, self._unknown)

    def replan(self) -> None:
        """Ask what an update would do."""
        if self.planning:
            self._plan_again = True
            return
        self.planning = True
        wanted = GLib.Variant("(a{sv})", (self._wanted(),))
        self._daemon.call("Plan", wanted, self._got_plan, self._no_plan)
        self._changed()

    def record(self, path: str, then: Record) -> None:
        """All there is about one session."""

        def got(properties: Properties) -> None:
            then(shaping.session_detail(properties), shaping.timeline(properties))

        self._daemon.properties(path, contract.SESSION, got, self._failed)

    def _got_manager(self, properties: Properties) -> None:
        self.manager, self.problem = properties, None
        self._changed()

    def _got_kernels(self, found: list[tuple[str, Properties]]) -> None:
        self.kernels = [shaping.kernel(properties) for _, properties in found]
        self._changed()

    def _got_sessions(self, found: list[tuple[str, Properties]]) -> None:
        self.sessions = [shaping.session(properties) for _, properties in found]
        self.paths = {properties["Id"]: path for path, properties in found}
        self._changed()

    def _got_jobs(self, found: list[tuple[str, Properties]]) -> None:
        running = [(path, job) for path, job in found if not job["Result"]]
        self.job = running[0] if running else None
        self._changed()

    def _got_plan(self, summary: Properties, rows: list[Properties]) -> None:
        self.plan, self.plan_problem = shaping.plan(summary, rows), None
        self._planned()

    def _no_plan(self, problem: Problem) -> None:
        self.plan, self.plan_problem = None, problem
        self._planned()

    def _planned(self) -> None:
        self.planning = False
        self._changed()
        if self._plan_again:
            self._plan_again = False
            self.replan()

    def _unknown(self, problem: Problem) -> None:
        self.problem = problem
        self._changed()

    # --- what changes ---

    def _heard(self, signal: Signal) -> None:
        if signal.member == "PropertiesChanged" and self.job and signal.path == self.job[0]:
            self.job = (signal.path, {**self.job[1], **signal.arguments[1]})
            self._changed()
            return
        if signal.member == "JobRemoved":
            self._job_over(*signal.arguments)
        elif signal.member == "SessionFinished":
            self.finished(signal.arguments[0])
        if not self._waiting:
            self._waiting = GLib.timeout_add(_PAUSE_MS, self._look)

    def _look(self) -> bool:
        self._waiting = 0
        self.refresh()
        return bool(GLib.SOURCE_REMOVE)

    def _job_over(self, _: int, path: str, result: str) -> None:
        """Its object stays for some seconds, see org.liveupdate1.Manager."""

        def got(job: Properties) -> None:
            self._failed(Problem(job["ErrorName"], job["Error"]))

        if result == "failed":
            self._daemon.properties(path, contract.JOB, got, self._failed)
        self.replan()

    # --- orders ---

    def order(self, member: str, *given: str, then: Then | None = None, **more: Any) -> None:
        """Call a method that takes strings and options; what comes of it shows by signals."""
        arguments = GLib.Variant(f"({'s' * len(given)}a{{sv}})", (*given, options(**more)))
        self._daemon.call(member, arguments, then or (lambda *_: None), self._failed)

    def update(self) -> None:
        """Do what the plan says."""
        arguments = GLib.Variant("(a{sv})", (self._wanted(),))
        self._daemon.call("Update", arguments, lambda *_: None, self._failed)

    def cancel(self) -> None:
        """Ask the job under way to stop."""
        if self.job:
            where = {"path": self.job[0], "interface": contract.JOB}
            self._daemon.call("Cancel", None, lambda: None, self._failed, **where)

    def aim(self, kernel: str) -> None:
        """Plan for that kernel."""
        self.target = kernel
        self.accepted.clear()
        self.replan()

    def accept(self, workload: str, accepted: bool) -> None:
        """Whether that workload may be lost."""
        (self.accepted.add if accepted else self.accepted.discard)(workload)
        self.replan()

    def _wanted(self) -> Any:
        # The daemon takes patterns, and names of processes may have the characters of one.
        agreed = sorted(escape(workload) for workload in self.accepted)
        return options(kernel=self.target, accept_loss=agreed)

    def _failed(self, problem: Problem) -> None:
        self.failed(problem)
