# SPDX-License-Identifier: LGPL-2.1-or-later
"""Restore is on the blackout's clock: it loads the standard library and our own modules only."""

import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "module", ["update.restore", "update.launch", "qemu.launch", "libvirt.gate"]
)
def test_the_restore_path_loads_nothing_but_the_standard_library(module: str) -> None:
    loaded = _loaded(
        f"import liveupdated.{module}\n"
        "from liveupdated import workloads\n"
        "for name in workloads.names(): workloads.kind(name)\n"
    )
    assert not loaded - set(sys.stdlib_module_names) - {"liveupdated", "__main__"}
    assert "asyncio" not in loaded


def test_a_restore_of_services_does_without_what_other_steps_need() -> None:
    """Each of these takes milliseconds of the blackout."""
    loaded = _loaded(
        "import liveupdated.update.restore\n"
        "from liveupdated import workloads\n"
        "workloads.kind('services')\n"
    )
    others = set("concurrent ctypes logging lzma pkgutil shutil uuid".split())
    assert loaded & others == set()


def _loaded(code: str) -> set[str]:
    """The top names of all modules that are there after `code`, run as restore is."""
    program = (
        "import sys; sys.path.append(sys.argv[1])\n"
        f"{code}"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, str(REPO)],
        check=True,
        capture_output=True,
        text=True,
    )
    return set(done.stdout.split())
