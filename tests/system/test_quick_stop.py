# SPDX-License-Identifier: LGPL-2.1-or-later
"""A quick stop in a real systemd: the end of it, for there is no kexec in a container."""

from collections.abc import Callable
from pathlib import Path

from tests.lab.container import Container

STUBBORN = "trap '' TERM; touch /root/ready; while :; do sleep 1; done"
POLITE = "trap 'touch /root/terminated; exit' TERM; while :; do sleep 0.1; done"


def test_what_does_not_end_is_not_waited_for(
    boot: Callable[..., Container], installed: Path, tmp_path: Path
) -> None:
    box = boot(layers=[installed], upper=tmp_path / "upper")
    box.run(
        "mkdir -p /var/lib/liveupdated/sessions/x; ln -s sessions/x /var/lib/liveupdated/current"
    )
    run = ["systemd-run", "--quiet"]
    forever = ["--property=TimeoutStopSec=infinity", "--property=SendSIGKILL=no"]
    box.run([*run, "--unit=stubborn", *forever, "bash", "-c", STUBBORN])
    box.run([*run, "--unit=polite", "bash", "-c", POLITE])
    box.run("until [ -e /root/ready ]; do sleep 0.1; done")

    python = "/usr/bin/python3 -c"
    box.run(
        f"{python} 'from liveupdated import systemd; from liveupdated.update import quickstop; "
        "systemd.write_files(quickstop.files()); systemd.reload()'"
    )
    box.run("systemctl --no-block start kexec.target", check=False)
    box.wait_end(60)
    assert "Sending SIGKILL" in box.console()
    assert (tmp_path / "upper/root/terminated").exists()
    assert (tmp_path / "upper/var/lib/liveupdated/sessions/x/stopped").exists()
