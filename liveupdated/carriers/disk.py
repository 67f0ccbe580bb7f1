# SPDX-License-Identifier: LGPL-2.1-or-later
"""The disk carrier: the state folder.  It is always there."""

from liveupdated import paths
from liveupdated.carriers import Carrier, free_bytes


def probe() -> Carrier:
    return Carrier("disk", paths.STATE, free_bytes(paths.STATE), "the state folder is on it")
