# SPDX-License-Identifier: LGPL-2.1-or-later
"""The restore worker up to its first restore; prints the CPU time that its process took, in ns.

Run as the worker is: `python3 -I -S first_restore.py REPOSITORY SCRATCH`, with LIVEUPDATED_ROOT.
"""

import os
import sys
import time
from pathlib import Path

sys.path.append(sys.argv[1])

from liveupdated import systemd
from liveupdated.update import guard, restore
from liveupdated.workloads import services


def _first(*_: object) -> None:
    print(time.process_time_ns(), flush=True)
    os._exit(0)


def main() -> int:
    systemd.RUN = Path(sys.argv[2])
    guard.missed = lambda session, boot: ""  # this boot is no jump
    services.restore = _first  # type: ignore[assignment]
    return restore.main()


if __name__ == "__main__":
    sys.exit(main())
