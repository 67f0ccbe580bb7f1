# SPDX-License-Identifier: LGPL-2.1-or-later
"""org.liveupdate1.Job"""

from liveupdated import contract
from liveupdated.exports import Call
from liveupdated.update.jobs import Job


class JobObject:
    """A job on the bus."""

    def __init__(self, job: Job) -> None:
        self._job = job

    @property
    def path(self) -> str:
        return contract.object_path("job", str(self._job.id))

    async def cancel(self, call: Call) -> None:
        self._job.cancel()

    @property
    def id(self) -> int:
        return self._job.id

    @property
    def kind(self) -> str:
        return self._job.kind

    @property
    def step(self) -> str:
        return self._job.step

    @property
    def progress(self) -> float:
        return self._job.progress

    @property
    def session(self) -> str:
        session = self._job.session
        return contract.object_path("session", session) if session else contract.NO_OBJECT

    @property
    def cancellable(self) -> bool:
        return self._job.cancellable

    @property
    def result(self) -> str:
        return self._job.result or ""

    @property
    def error_name(self) -> str:
        error = self._job.error
        return contract.ERRORS + error.dbus_name if error else ""

    @property
    def error(self) -> str:
        return str(self._job.error or "")
