# SPDX-License-Identifier: LGPL-2.1-or-later
"""`python -m tests.desktop [ARGUMENTS]`: pytest over this folder, in a Debian with GTK; root."""

import subprocess
import sys
from pathlib import Path

from tests.lab import desktop

HERE = Path(__file__).parent

if __name__ == "__main__":
    run = [str(HERE / "inside"), str(desktop.image().root), "python3", "-m", "pytest"]
    # The plugins that some of the settings are for are not there.
    run += ["-p", "no:cacheprovider", "-W", "ignore::pytest.PytestConfigWarning"]
    sys.exit(subprocess.run([*run, "tests/desktop", *sys.argv[1:]], check=False).returncode)
