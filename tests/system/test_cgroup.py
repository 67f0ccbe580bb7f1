# SPDX-License-Identifier: LGPL-2.1-or-later
"""A frozen cgroup is one that a tracer can stop, on a real kernel."""

from liveupdated.cgroup import FREEZE_LIMIT_S
from tests.lab.container import Container

# The child opens the gate, and waits there, before it begins its program; its parent waits in
# vfork(2).
SPAWN = """\
import os, time
os.mkfifo("/run/gate")
gate = (os.POSIX_SPAWN_OPEN, 5, "/run/gate", os.O_RDONLY, 0)
os.posix_spawn("/bin/true", ["true"], {}, file_actions=[gate])
time.sleep(1e6)
"""
FREEZE = """\
import sys
from pathlib import Path
from liveupdated import cgroup
from liveupdated.errors import LiveUpdateError

group = Path("/sys/fs/cgroup/system.slice/spawner.service")
try:
    cgroup.freeze(group)
    print(Path(f"/proc/{sys.argv[1]}/stat").read_text().rpartition(") ")[2][0])
except LiveUpdateError as error:
    print(error.why)
finally:
    cgroup.thaw(group)
"""


def test_who_waits_in_vfork_is_not_taken_for_stopped(box: Container) -> None:
    box.put(SPAWN.encode(), "/root/spawn.py")
    box.put(FREEZE.encode(), "/root/freeze.py")
    box.run("systemd-run --unit=spawner python3 /root/spawn.py")
    main = box.run("systemctl show -PMainPID spawner").stdout.strip()
    box.run(f"until grep -q '^State:.D' /proc/{main}/status; do sleep 0.1; done")
    freeze = ["python3", "/root/freeze.py", main]
    said = box.run(freeze, timeout=FREEZE_LIMIT_S + 120).stdout
    assert said == f"thread {main} waits in vfork(2), and its child does not go on\n"
    box.run(": > /run/gate")
    assert box.run(freeze, timeout=FREEZE_LIMIT_S + 120).stdout == "S\n"
