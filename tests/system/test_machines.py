# SPDX-License-Identifier: LGPL-2.1-or-later
"""Virtual machines in services of a real systemd: saved, ended and brought back in place."""

import json

import pytest

from tests.lab.container import Container
from tests.lab.guests import (
    FOLDER,
    LIMIT_S,
    assert_counts_on,
    counts,
    furnish,
    mains,
    rows,
    wait_count,
)

from .test_daemon import refused

HOLDER = "systemd-run --unit=holder socat EXEC:'sleep infinity' UNIX-CONNECT:/run/plain/qmp"
RULE = b'[[workload]]\nmachine = "plain"\ncarry = "no"\n'
IN_PLACE = """\
import json, subprocess, sys
from pathlib import Path
from liveupdated import systemd
from liveupdated.errors import LiveUpdateError
from liveupdated.host import Host
from liveupdated.workloads import machines

guest = next(w for w in machines.find(Host([])) if w.name == sys.argv[1])
held = {f"{systemd.RUNTIME_UNITS}/{p}": t for p, t in machines.hold_files(guest).items()}
systemd.write_files(held)
systemd.reload()
artifacts = Path("/var/lib/liveupdated/artifacts")
artifacts.mkdir(mode=0o700, parents=True)
machines.save(guest, artifacts, lambda name: None)
machines.commit(guest)
subprocess.run(sys.argv[2], shell=True, check=True)
said = ""
try:
    machines.resume(guest, artifacts)
except LiveUpdateError as error:
    said = str(error)
systemd.remove_files(held)
systemd.reload()
subprocess.run(["rm", "-r", str(artifacts)], check=True)
print(json.dumps(said))
"""
"""Save and end the guest, do something, and bring it back; prints why that failed."""


def in_place(box: Container, meanwhile: str) -> str:
    box.put(IN_PLACE.encode(), "/root/in_place")
    done = box.run(["python3", "/root/in_place", "plain.service", meanwhile], timeout=LIMIT_S)
    said: str = json.loads(done.stdout)
    return said


def test_a_rehearsal_ends_and_restores_each_guest_in_its_unit(box: Container) -> None:
    furnish(box)
    before = mains(box)
    for _ in range(2):  # the second time QEMU's own command line has -incoming
        box.run(["liveupdatectl", "rehearse", "machines:*"], timeout=LIMIT_S)
        assert_counts_on(box)
        assert not set(before) & set(mains(box))
        assert box.run("find /run/systemd -name '*-liveupdated-*'").stdout == ""
    shown = box.run("systemctl show plain -p Type,Restart,NeedDaemonReload").stdout
    assert set(shown.split()) == {"Type=simple", "Restart=always", "NeedDaemonReload=no"}
    (main,) = box.run(["systemctl", "show", "-P", "MainPID", "plain"]).stdout.split()
    assert box.run(["stat", "-c", "%U", f"/proc/{main}"]).stdout == "guests\n"


def test_the_plan_names_what_stands_in_the_way(box: Container) -> None:
    furnish(box)
    a_busy_monitor(box)
    a_rule_that_says_no(box)
    a_guest_of_no_service(box)


def a_busy_monitor(box: Container) -> None:
    box.run(HOLDER)
    box.run("until ss -xH | grep -q /run/plain/qmp; do sleep 0.2; done")
    row = rows(box)["plain.service"]
    assert row["verdict"] == "blocks"
    assert "QMP socket" in row["reason"] and "busy" in row["reason"]
    assert "plain.service" in refused(box, "liveupdatectl plan")
    box.run("systemctl stop holder")
    assert rows(box)["plain.service"]["verdict"] == "carried"


def a_rule_that_says_no(box: Container) -> None:
    box.put(RULE, "/etc/liveupdated/workloads.d/plain.toml")
    row = rows(box)["plain.service"]
    assert row["verdict"] == "restarted" and "plain.toml" in row["reason"]
    box.run("rm /etc/liveupdated/workloads.d/plain.toml")


def a_guest_of_no_service(box: Container) -> None:
    box.run(
        "systemd-run --scope --unit=stray qemu-system-x86_64 -machine none -display none "
        "-nodefaults -name stray >/dev/null 2>&1 &"
    )
    procs = "/sys/fs/cgroup/system.slice/stray.scope/cgroup.procs"
    box.run(f"until readlink /proc/$(head -n 1 {procs})/exe | grep -q qemu; do sleep 0.2; done")
    row = rows(box)["stray"]
    assert row["verdict"] == "lost" and "main process of no service" in row["reason"]
    box.run("systemctl stop stray.scope")


@pytest.mark.parametrize(
    ("meanwhile", "why"),
    [
        (f"truncate -s 2M {FOLDER}/plain.img", f"{FOLDER}/plain.img was changed"),
        ("printf x >> /var/lib/liveupdated/artifacts/state", "its checkpoint was altered: state"),
        ("printf ' ' >> /var/lib/liveupdated/artifacts/launch.json", "launch.json is not as"),
        (f"mv {FOLDER}/plain.img {FOLDER}/gone; cp {FOLDER}/gone {FOLDER}/plain.img", "inode"),
    ],
    ids=["image changed", "state altered", "instructions altered", "another image"],
)
def test_what_is_not_as_it_was_saved_starts_afresh(
    box: Container, meanwhile: str, why: str
) -> None:
    furnish(box)
    said = in_place(box, meanwhile)
    assert "plain.service could not be resumed" in said and why in said
    box.run(f"chown guests {FOLDER}/plain.img; systemctl restart plain")
    wait_count(box, "plain", 3)
    assert counts(box, "plain").count(1) >= 2, "it was not booted afresh"


def test_the_same_without_a_change_goes_on(box: Container) -> None:
    furnish(box)
    assert in_place(box, "true") == ""
    assert_counts_on(box)
