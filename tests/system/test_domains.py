# SPDX-License-Identifier: LGPL-2.1-or-later
"""libvirt's domains under a real systemd: saved, and brought back in place."""

import json

import pytest

from tests.lab.container import Container
from tests.lab.domains import (
    CARRIED,
    FOLDER,
    FRESH,
    PASSING,
    STEADY,
    VIRSH,
    assert_counts_on,
    counts,
    furnish,
    state,
    wait_count,
)
from tests.lab.guests import LIMIT_S, rows

IN_PLACE = """\
import json, subprocess, sys
from pathlib import Path
from liveupdated.errors import LiveUpdateError
from liveupdated.host import Host
from liveupdated.workloads import domains

domain = next(w for w in domains.find(Host([])) if w.name == sys.argv[1])
artifacts = Path("/var/lib/liveupdated/artifacts")
artifacts.mkdir(mode=0o700, parents=True)
said = ""
try:
    domains.save(domain, artifacts, lambda name: None)
    domains.commit(domain)
    subprocess.run(sys.argv[2], shell=True, check=True)
    domains.resume(domain, artifacts)
except LiveUpdateError as error:
    said = str(error)
subprocess.run(["rm", "-r", str(artifacts)], check=True)
print(json.dumps(said))
"""
"""Save the domain, do something, and bring it back; prints why that failed."""
SAVE = "/var/lib/libvirt/qemu/save"


def in_place(box: Container, name: str, meanwhile: str = "true") -> str:
    box.put(IN_PLACE.encode(), "/root/in_place")
    done = box.run(["python3", "/root/in_place", name, meanwhile], timeout=LIMIT_S)
    said: str = json.loads(done.stdout)
    return said


def test_a_rehearsal_saves_and_restores_each_domain(box: Container) -> None:
    furnish(box)
    planned = {name: row["verdict"] for name, row in rows(box).items() if row["kind"] == "domains"}
    assert planned == {STEADY: "carried", PASSING: "carried", FRESH: "restarted"}
    box.run(["liveupdatectl", "rehearse", "domains:*"], timeout=LIMIT_S)
    assert_counts_on(box, STEADY, PASSING, FRESH)
    a_paused_one_stays_paused(box)
    what_cannot_be_saved_runs_on(box)


def a_paused_one_stays_paused(box: Container) -> None:
    for name in CARRIED:
        box.run(f"{VIRSH} suspend {name}")
        assert in_place(box, name) == ""
        assert state(box, name) == "paused"
        box.run(f"{VIRSH} resume {name}")
        assert_counts_on(box, name)


def what_cannot_be_saved_runs_on(box: Container) -> None:
    """What libvirt says only at the save."""
    box.run(f"mv {SAVE} {SAVE}.away; touch {SAVE}")
    said = in_place(box, STEADY)
    assert "steady could not be saved: virsh managedsave failed" in said
    box.run(f"rm {SAVE}; mv {SAVE}.away {SAVE}")
    assert_counts_on(box, STEADY)


@pytest.mark.parametrize(
    ("name", "meanwhile", "why"),
    [
        (STEADY, f"truncate -s 2M {FOLDER}/{STEADY}.img", f"{FOLDER}/{STEADY}.img was changed"),
        (STEADY, f"printf x >> {SAVE}/{STEADY}.save", "it was altered"),
        (PASSING, "printf x >> /var/lib/liveupdated/artifacts/state", "it was altered"),
        (STEADY, f"rm {SAVE}/{STEADY}.save", "it was altered"),
    ],
    ids=["image changed", "state altered", "file altered", "state gone"],
)
def test_what_is_not_as_it_was_saved_starts_afresh(
    box: Container, name: str, meanwhile: str, why: str
) -> None:
    furnish(box)
    said = in_place(box, name, meanwhile)
    assert f"{name} could not be resumed" in said and why in said
    assert "started afresh" in said
    wait_count(box, name, 3)
    assert counts(box, name).count(1) == 2, "it was not booted afresh"
