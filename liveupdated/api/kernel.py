# SPDX-License-Identifier: LGPL-2.1-or-later
"""org.liveupdate1.Kernel"""

import dataclasses

from liveupdated import contract
from liveupdated.kernels.catalogue import Kernel


class KernelObject:
    """A kernel on the bus."""

    def __init__(self, kernel: Kernel, staged: bool, blocked: bool) -> None:
        self.kernel = kernel
        self.running = kernel.running
        self.staged = staged
        self.blocked = blocked

    @property
    def path(self) -> str:
        return contract.object_path("kernel", self.kernel.id)

    @property
    def id(self) -> str:
        return self.kernel.id

    @property
    def release(self) -> str:
        return self.kernel.release

    @property
    def build(self) -> str:
        return self.kernel.build

    @property
    def architecture(self) -> str:
        return self.kernel.arch

    @property
    def kind(self) -> str:
        return self.kernel.kind

    @property
    def image(self) -> str:
        return str(self.kernel.image)

    @property
    def initrds(self) -> list[str]:
        return [str(initrd) for initrd in self.kernel.initrds]

    @property
    def command_line(self) -> str:
        return self.kernel.cmdline

    @property
    def source(self) -> str:
        return self.kernel.source

    @property
    def features(self) -> dict[str, bool]:
        return {
            name.replace("_", "-"): known
            for name, known in dataclasses.asdict(self.kernel.features).items()
            if isinstance(known, bool)
        }

    @property
    def problems(self) -> list[str]:
        return list(self.kernel.problems)

    @property
    def warnings(self) -> list[str]:
        return list(self.kernel.warnings)
