# SPDX-License-Identifier: LGPL-2.1-or-later
"""systemd generator (systemd.generator(7)): in the boot after a jump, the units' restore drop-ins.

Runs at the very start of the boot and at every daemon-reload.  Decides nothing: what the session
cannot vouch for is left to boot as ever.  Standard library only.
"""

import sys
from pathlib import Path

from liveupdated.errors import LiveUpdateError
from liveupdated.session import Store, this_boot
from liveupdated.update import guard
from liveupdated.workloads import kind


def main() -> int:
    """Write into the first of the three folders that systemd names.  Always succeeds: a boot must
    not fail for us."""
    try:
        generate(Path(sys.argv[1]), Store())
    except (LiveUpdateError, OSError, IndexError) as error:
        print(f"liveupdated-generator: {error}", file=sys.stderr)
    return 0


def generate(folder: Path, store: Store) -> None:
    """The files of every workload of the open session, if this is the boot it jumped to."""
    if not store.current_link.is_symlink():
        return
    session = store.current()
    boot = this_boot()
    if session is None or guard.same_boot(session, boot) or guard.missed(session, boot):
        return
    for workload in session.workloads:
        artifacts = store.artifacts(session, workload.id)
        for path, text in kind(workload.kind).boot_files(workload, artifacts).items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(0o644)
