# SPDX-License-Identifier: LGPL-2.1-or-later
"""Keeps libvirt's daemon from its autostart until a domain's saved state was looked at, this once.

Standard library only: systemd runs this before the daemon, in the boot after a jump.
"""

import sys
import time
from pathlib import Path

from liveupdated.instructions import POLL_S, TURN_LIMIT_S

CHECKED = "checked"
"""In the domain's folder below `paths.RESTORING`."""


def main() -> int:
    """`restore-domain FOLDER`: wait, but never longer than since that folder was made."""
    folder = Path(sys.argv[1])
    end = folder.stat().st_mtime + TURN_LIMIT_S
    while not (folder / CHECKED).exists() and time.time() < end:
        time.sleep(POLL_S)
    return 0
