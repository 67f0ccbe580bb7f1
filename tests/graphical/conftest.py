# SPDX-License-Identifier: LGPL-2.1-or-later
"""Containers with a desktop and all packages of this tree."""

from collections.abc import Generator, Iterator
from typing import TypeVar

import pytest

from tests.graphical import host
from tests.graphical.desk import Desk, Gnome, Kde, Xfce
from tests.lab import container, deb, desktop
from tests.lab.container import Container

PACKAGES = (
    "liveupdated",
    "liveupdated-desktop",
    "liveupdated-window",
    "gnome-shell-extension-liveupdated",
)
_D = TypeVar("_D", bound=Desk)
_DESK = pytest.StashKey[Desk]()


@pytest.fixture(scope="module", params=desktop.SUITES)
def gnome(request: pytest.FixtureRequest) -> Iterator[Gnome]:
    """A running host with everything installed, and GNOME: 48, and the newest."""
    yield from _desk(request, request.param, Gnome)


@pytest.fixture(scope="module")
def xfce(request: pytest.FixtureRequest) -> Iterator[Xfce]:
    """The same with the notifications of Xfce."""
    yield from _desk(request, desktop.SUITES[0], Xfce)


@pytest.fixture(scope="module")
def kde(request: pytest.FixtureRequest) -> Iterator[Kde]:
    """The same with KDE's Plasma."""
    yield from _desk(request, desktop.SUITES[0], Kde, desktop.PLASMA)


def _desk(
    request: pytest.FixtureRequest, suite: str, kind: type[_D], packages: str = desktop.PACKAGES
) -> Iterator[_D]:
    image = desktop.image(suite, packages)
    layer = container.layer(image, *map(deb.build_deb, PACKAGES))
    with Container(image, layers=[layer]) as box:
        host.prepare(box)
        request.node.stash[_DESK] = found = kind(box)
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
