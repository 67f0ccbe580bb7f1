# SPDX-License-Identifier: LGPL-2.1-or-later
"""`python -m tests.lab disk|container|desktop`: make what the tests need, and tell the times."""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from . import container, deb, desktop, image
from .errors import LabError


def _timed(what: str, make: Callable[[], Path]) -> Path:
    print(f"lab: {what} ...", end=" ", flush=True)
    start = time.monotonic()
    path = make()
    print(f"{time.monotonic() - start:.0f} s, {path}", flush=True)
    return path


def _desktop(suite: str) -> Path:
    return desktop.image(suite).path


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab")
    parser.add_argument("what", choices=["disk", "container", "desktop"])
    what = parser.parse_args().what
    if what == "desktop":
        for suite in desktop.SUITES:
            _timed(f"Debian {suite} with desktops", partial(_desktop, suite))
        return 0
    system = image.Image(_timed("Debian with two kernels", lambda: image.image().path))
    package = _timed("package of this tree", deb.build_deb)
    layer = deb.layer if what == "disk" else container.layer
    _timed(f"{what} with the package installed", lambda: layer(system, package))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        sys.exit(f"\nlab: {error}")
