# SPDX-License-Identifier: LGPL-2.1-or-later
"""A quick stop in a real systemd: all but the kexec itself, in place of which a container ends."""

from collections.abc import Callable
from pathlib import Path

from tests.lab.container import Container

STUBBORN = "trap '' TERM; touch /root/ready; while :; do sleep 1; done"
POLITE = "trap 'touch /root/terminated; exit' TERM; while :; do sleep 0.1; done"
# It needs longer than the others have, and says so in its unit.
SLOW = "trap 'sleep 12; touch /root/flushed; exit' TERM; while :; do sleep 0.1; done"
PREPARE = """
from liveupdated import systemd
from liveupdated.update import quickstop
systemd.write_files(quickstop.files(quickstop.to_stop({"carried.service"})))
systemd.reload()
"""


def test_what_does_not_end_is_not_waited_for(
    boot: Callable[..., Container], installed: Path, tmp_path: Path
) -> None:
    box = boot(layers=[installed], upper=tmp_path / "upper")
    box.run("mkdir -p /var/lib/liveupdated/sessions/x")
    box.run("ln -s sessions/x /var/lib/liveupdated/current")
    run = ["systemd-run", "--quiet"]
    box.run([*run, "--unit=stubborn", "--property=SendSIGKILL=no", "bash", "-c", STUBBORN])
    box.run([*run, "--unit=slow", "--property=TimeoutStopSec=2min", "bash", "-c", SLOW])
    box.run([*run, "--unit=polite", "bash", "-c", POLITE])
    after = ""
    for name in ("server", "client", "carried"):
        stop = f"--property=ExecStop=bash -c 'echo {name} >> /root/stopped'"
        box.run([*run, f"--unit={name}", stop, *after.split(), "sleep", "infinity"])
        after = "--property=After=server.service"
    box.run("until [ -e /root/ready ]; do sleep 0.1; done")

    box.run(["/usr/bin/python3", "-c", PREPARE])
    box.run("systemctl --no-block start kexec.target", check=False)
    box.wait_end(60)
    assert "Sending SIGKILL" in box.console()
    root = tmp_path / "upper/root"
    assert (root / "terminated").exists()
    assert (root / "flushed").exists()
    assert (root / "stopped").read_text() == "client\nserver\n"
    noted = tmp_path / "upper/var/lib/liveupdated/sessions/x/stopped"
    assert noted.stat().st_mtime >= (root / "stopped").stat().st_mtime
