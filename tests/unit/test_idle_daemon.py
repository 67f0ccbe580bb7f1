# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon is there all day: it loads the D-Bus library, and nothing for what a worker does."""

import os
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).parents[2]

HEAVY = {
    "ctypes",  # to load a kernel
    "email",  # importlib.metadata's
    "gzip",
    "logging.handlers",
    "lzma",  # kernel images of arm64
    "shutil",  # to delete what was saved
    "tomllib",  # settings, where there are any
    "unittest",
    "uuid",
}


def test_the_idle_daemon_loads_the_bus_library_alone(tmp_path: Path) -> None:
    (tmp_path / "etc/liveupdated").mkdir(parents=True)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cmdline").write_text("quiet\n")
    code = (
        "import sys\n"
        "from liveupdated import config, daemon\n"
        "from liveupdated.kernels import KernelConfig, catalogue, loader\n"
        "from liveupdated.update import coordinator\n"
        "config.load_apart(); catalogue.list_kernels(KernelConfig()); loader.loaded()\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        # Without the site module, which in a virtual environment loads much itself.
        [sys.executable, "-S", "-c", code],
        env={
            **os.environ,
            "LIVEUPDATED_ROOT": str(tmp_path),
            "LIVEUPDATED_DBUS": "dbus_next",
            "PYTHONPATH": os.pathsep.join([str(REPO), *sys.path]),
        },
        check=True,
        capture_output=True,
        text=True,
    )
    loaded = set(done.stdout.split())
    foreign = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names)
    assert foreign == {"__main__", "dbus_next", "liveupdated"}
    assert not loaded & HEAVY
