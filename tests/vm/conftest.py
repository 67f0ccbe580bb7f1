# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fixtures of the tests that need a real kexec between real kernels."""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.lab import deb, image
from tests.lab.image import Image
from tests.lab.qemu import Machine

_MACHINES = pytest.StashKey[list[Machine]]()


@pytest.fixture(scope="session")
def lab_image() -> Image:
    """The cached Debian."""
    return image.image()


@pytest.fixture(scope="session")
def package() -> Path:
    """The .deb of this tree."""
    return deb.build_deb()


@pytest.fixture(scope="session")
def installed(lab_image: Image, package: Path) -> Path:
    """A disk with the package installed."""
    return deb.layer(lab_image, package)


@pytest.fixture
def boot(request: pytest.FixtureRequest, lab_image: Image) -> Iterator[Callable[..., Machine]]:
    """`boot(**arguments of Machine)`: a machine that is switched off after the test.

    Without `disk=installed` it is the bare Debian.
    """
    machines = request.node.stash[_MACHINES] = []
    with ExitStack() as stack:

        def start(**arguments: Any) -> Machine:
            machine = stack.enter_context(Machine(lab_image, **arguments))
            machines.append(machine)
            machine.wait_running()
            return machine

        yield start


@pytest.fixture
def vm(boot: Callable[..., Machine], installed: Path) -> Machine:
    """A running machine with the package installed, on kernel 6.12."""
    return boot(disk=installed)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure brings its evidence along while the machines still run."""
    report = yield
    if report.failed and report.when != "teardown":
        for machine in item.stash.get(_MACHINES, []):
            report.sections.append(("evidence from the machine", machine.evidence()))
    return report
