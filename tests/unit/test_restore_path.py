# SPDX-License-Identifier: LGPL-2.1-or-later
"""Restore is on the blackout's clock: it loads the standard library and our own modules only."""

import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "module", ["update.restore", "update.generator", "update.launch", "qemu.launch", "libvirt.gate"]
)
def test_the_restore_path_loads_nothing_but_the_standard_library(module: str) -> None:
    code = (
        "import sys; sys.path.append(sys.argv[1])\n"
        f"import liveupdated.{module}\n"
        "from liveupdated import workloads\n"
        "for name in workloads.names(): workloads.kind(name)\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(REPO)],
        check=True,
        capture_output=True,
        text=True,
    )
    foreign = set(done.stdout.split()) - set(sys.stdlib_module_names) - {"liveupdated", "__main__"}
    assert not foreign
    assert "asyncio" not in done.stdout.split()
