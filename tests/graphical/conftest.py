# SPDX-License-Identifier: LGPL-2.1-or-later
"""Containers with a desktop and all packages of this tree."""

from collections.abc import Generator, Iterator

import pytest

from tests.graphical import host
from tests.graphical.desk import Desk, Gnome
from tests.lab import container, deb, desktop
from tests.lab.container import Container

PACKAGES = (
    "liveupdated",
    "liveupdated-desktop",
    "liveupdated-window",
    "gnome-shell-extension-liveupdated",
)
_DESK = pytest.StashKey[Desk]()


@pytest.fixture(scope="module")
def gnome(request: pytest.FixtureRequest) -> Iterator[Gnome]:
    """A running host with everything installed, and GNOME 48."""
    image = desktop.image()
    layer = container.layer(image, *map(deb.build_deb, PACKAGES))
    with Container(image, layers=[layer]) as box:
        host.prepare(box)
        request.node.stash[_DESK] = found = Gnome(box)
        yield found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure brings its evidence along while the container still runs."""
    report = yield
    desk = item.parent.stash.get(_DESK, None) if item.parent else None
    if report.failed and desk and report.when != "teardown":
        report.sections.append(("evidence from the desktop", desk.evidence()))
    return report
