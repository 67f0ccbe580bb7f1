# SPDX-License-Identifier: LGPL-2.1-or-later
"""The status by busctl(1): two questions, asked in 6 ms each.

asyncio and the D-Bus library take longer to import than all the rest of `liveupdatectl status`,
which is what shell prompts and monitoring call.  Whatever does not work here is left to
`liveupdated.ctl.client`, which asks again and says what is wrong.
"""

import json
import subprocess

from liveupdated import contract
from liveupdated.ctl import shapes, shaping


def status() -> shapes.Status | None:
    """None where it cannot be had this way."""
    try:
        manager = _properties(contract.ROOT, contract.MANAGER)
        path = manager["LastSession"]
        last = None if path == contract.NO_OBJECT else _properties(path, contract.SESSION)
        return shaping.status(manager, last)
    except (OSError, subprocess.CalledProcessError, ValueError, KeyError, TypeError):
        return None


def _properties(path: str, interface: str) -> shaping.Properties:
    where = [contract.NAME, path, "org.freedesktop.DBus.Properties"]
    done = subprocess.run(
        ["busctl", "--system", "--json=short", "call", *where, "GetAll", "s", interface],
        check=True,
        capture_output=True,
        text=True,
    )
    [found] = json.loads(done.stdout)["data"]
    return {name: variant["data"] for name, variant in found.items()}
