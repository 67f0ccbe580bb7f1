# SPDX-License-Identifier: LGPL-2.1-or-later
"""org.liveupdate1.Workload"""

from liveupdated import contract
from liveupdated.session import Workload


class WorkloadObject:
    """A workload on the bus, as it was found last."""

    def __init__(self, workload: Workload) -> None:
        self.id = workload.id
        self.kind = workload.kind
        self.name = workload.name
        self.verdict = str(workload.verdict)
        self.reason = workload.reason
        self.source = workload.source
        self.bytes = workload.bytes
        self.cost = workload.cost_us

    @property
    def path(self) -> str:
        return contract.object_path("workload", self.id)
