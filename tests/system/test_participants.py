# SPDX-License-Identifier: LGPL-2.1-or-later
"""Services that take part: told before and after, waited for up to the limit, named when late."""

import json
from pathlib import Path
from typing import Any

from tests.lab.container import Container

PARTICIPANT = Path(__file__).with_name("participant")
LIMIT_S = 4


def take_part(box: Container, manner: str) -> None:
    box.run(f"systemd-run --quiet --unit=part-{manner} /usr/local/bin/participant {manner}")
    box.run(f"until journalctl -ocat -u part-{manner} | grep -qx holds; do sleep 0.2; done")


def heard(box: Container, manner: str) -> list[str]:
    lines = box.run(["journalctl", "-ocat", f"--unit=part-{manner}"]).stdout.splitlines()
    return [line for line in lines if line in ("before", "after")]


def last(box: Container) -> Any:
    return json.loads(box.run(["liveupdatectl", "history", "last", "--json"]).stdout)


def test_each_has_its_say(box: Container) -> None:
    box.put(PARTICIPANT, "/usr/local/bin/participant", 0o755)
    box.put(
        f"[update]\ninhibit_delay_s = {LIMIT_S}\n".encode(), "/etc/liveupdated/liveupdated.toml"
    )
    box.run("systemctl restart liveupdated; systemd-run --quiet --unit=nothing sleep infinity")
    rehearse = ["liveupdatectl", "rehearse", "nothing.service"]

    take_part(box, "ready")
    box.run(rehearse, timeout=120)
    assert heard(box, "ready") == ["before", "after"]
    assert (last(box)["state"], last(box)["notes"]) == ("rehearsed", [])

    take_part(box, "late")
    take_part(box, "dying")
    box.run(rehearse, timeout=120)
    notes = last(box)["notes"]
    assert len(notes) == 2, notes
    assert notes[0].startswith("late (pid ") and f"within {LIMIT_S} s" in notes[0]
    assert notes[1].startswith("dying (pid ") and "ended" in notes[1]
    assert heard(box, "late") == ["before", "after"]
    box.run(["systemctl", "stop", "part-late"])

    take_part(box, "blocking")
    done = box.run(rehearse, timeout=120, check=False)
    assert done.code == 8, done.stderr
    assert "blocking (uid 0): cannot get ready" in done.stderr
    assert heard(box, "blocking") == ["before", "after"]
    assert last(box)["state"] == "abandoned"
    box.run(["systemctl", "stop", "part-blocking"])
    box.run(rehearse, timeout=120)
