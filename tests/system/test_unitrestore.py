# SPDX-License-Identifier: LGPL-2.1-or-later
"""A unit whose start is a restore, in the boot of the save, on a real systemd."""

import pytest

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
