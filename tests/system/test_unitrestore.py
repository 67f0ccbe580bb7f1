# SPDX-License-Identifier: LGPL-2.1-or-later
"""A unit whose start is a restore, in the boot of the save, on a real systemd."""

import pytest

from liveupdated import unitrestore
from tests.lab.container import Container

NAME = "back.service"
IN_PLACE = """\
import sys
from liveupdated import unitrestore
from liveupdated.errors import ServiceError

text = "[Service]\\n" + sys.argv[2].format(work=unitrestore.folder(sys.argv[1]))
unitrestore.prepare(sys.argv[1])
try:
    unitrestore.in_place(sys.argv[1], {sys.argv[1]: text}, {}, lambda folder: "")
except ServiceError as error:
    print(error)
"""
# Between `running` and the end of its start is what systemd still has to do.
COMES = "echo >> /root/starts; touch {work}/running; sleep 1"
ONESHOT = f"Type=oneshot\nExecStart=sh -c '{COMES}'\n"
STAYS = f"Type=oneshot\nRemainAfterExit=yes\nExecStart=sh -c '{COMES}'\n"
FAILS = "Type=oneshot\nExecStart=sh -c 'echo no >{work}/error; touch {work}/failed; exit 1'\n"
ENDS = "Type=forking\nExecStart=sh -c 'touch {work}/running; sleep 1; exit 1'\n"


def in_place(box: Container, text: str) -> str:
    box.put(IN_PLACE.encode(), "/root/in_place")
    box.run("mkdir -p /run/liveupdated")
    return box.run(["python3", "/root/in_place", NAME, text], timeout=600).stdout


@pytest.mark.parametrize("text", [ONESHOT, STAYS], ids=["gone when it has started", "stays"])
def test_what_has_come_is_not_started_again(box: Container, text: str) -> None:
    assert in_place(box, text) == ""
    assert box.run("cat /root/starts").stdout == "\n"
    assert box.run("find /run/systemd/system -name 'back.*'").stdout == ""


def test_a_start_that_fails_is_told(box: Container) -> None:
    said = in_place(box, FAILS)
    assert f"{NAME} could not be resumed" in said and "no" in said.split()


def test_a_start_that_fails_after_it_said_that_it_runs_is_told(box: Container) -> None:
    assert f"{NAME} could not be resumed" in in_place(box, ENDS)


OWN = "[Service]\nExecStart=sleep infinity\n"
WORK = f"/run/liveupdated/restoring/{NAME}"
GENERATOR = f"""\
#!/bin/sh
[ -e {WORK}/failed ] || [ -e {WORK}/settled ] && exit
mkdir -p $1/{NAME}.d
cp /root/restore.conf $1/{NAME}.d/{unitrestore.DROPIN}
"""
RESTORE = f"""\
[Service]
Type=forking
PIDFile={WORK}/pid
ExecStart=
ExecStart=/root/launcher
ExecStopPost=touch {WORK}/failed
{unitrestore.AFRESH}TimeoutStartSec={unitrestore.START_LIMIT_S}
"""
LAUNCHER = f"""\
#!/bin/sh
[ ! -e {WORK}/running ] || exit 1
sleep 1000000 &
echo $! >{WORK}/pid
touch {WORK}/running
"""
WORKER = """\
import time
from liveupdated import unitrestore
while True:
    unitrestore.give_back_what_ended()
    time.sleep(1)
"""


@pytest.mark.parametrize("end", ["restart", "kill --signal=KILL"])
def test_what_ends_before_the_boot_is_over_starts_from_its_own_definition(
    box: Container, end: str
) -> None:
    """And soon: not after the limit of a start, for which systemd would wait."""
    box.put(OWN.encode(), f"/etc/systemd/system/{NAME}")
    box.put(RESTORE.encode(), "/root/restore.conf")
    box.put(LAUNCHER.encode(), "/root/launcher", 0o755)
    box.put(GENERATOR.encode(), "/etc/systemd/system-generators/jump", 0o755)
    box.put(WORKER.encode(), "/root/worker")
    box.run(f"mkdir -p {WORK}; systemctl daemon-reload; systemctl start {NAME}")
    box.run("systemd-run --unit=worker python3 /root/worker")
    assert main(box) == "sleep 1000000"
    box.run(f"systemctl {end} {NAME}", check=False, timeout=300)
    box.run(f"until systemctl is-active {NAME}; do sleep 0.2; done", timeout=300)
    assert main(box) == "sleep infinity"
    shown = box.run(f"systemctl show -P DropInPaths -P NeedDaemonReload {NAME}").stdout
    assert shown.split() == ["no"]


def main(box: Container) -> str:
    pid = box.run(f"systemctl show -P MainPID {NAME}").stdout.strip()
    return box.run(f"tr '\\0' ' ' </proc/{pid}/cmdline").stdout.strip()
