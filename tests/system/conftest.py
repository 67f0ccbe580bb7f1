# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fixtures of the tests that need a real systemd, logind and polkit, but no kernel of their own."""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.lab import container, deb, image
from tests.lab.container import Container
from tests.lab.image import Image

_CONTAINERS = pytest.StashKey[list[Container]]()


@pytest.fixture(scope="session")
def lab_image() -> Image:
    """The cached Debian."""
    return image.image()


@pytest.fixture(scope="session")
def installed(lab_image: Image) -> Path:
    """A layer with the package of this tree installed."""
    return container.layer(lab_image, deb.build_deb())


@pytest.fixture
def boot(request: pytest.FixtureRequest, lab_image: Image) -> Iterator[Callable[..., Container]]:
    """`boot(**arguments of Container)`: a booted container that ends with the test.

    Without `layers=[installed]` it is the bare Debian.
    """
    containers = request.node.stash.setdefault(_CONTAINERS, [])
    with ExitStack() as stack:

        def start(**arguments: Any) -> Container:
            box = stack.enter_context(Container(lab_image, **arguments))
            containers.append(box)
            return box

        yield start


@pytest.fixture
def box(boot: Callable[..., Container], installed: Path) -> Container:
    """A booted container with the package installed."""
    return boot(layers=[installed])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure brings its evidence along while the containers still run."""
    report = yield
    if report.failed and report.when != "teardown":
        for each in item.stash.get(_CONTAINERS, []):
            report.sections.append(("evidence from the container", each.evidence()))
    return report
