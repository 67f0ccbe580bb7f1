# SPDX-License-Identifier: LGPL-2.1-or-later
"""The packaged daemon under a real systemd, dbus-daemon, logind and polkitd."""

import json
import re
from typing import Any

from tests.lab.container import Container

MANAGER = "org.liveupdate1 /org/liveupdate1 org.liveupdate1.Manager"
NOBODY = "setpriv --reuid nobody --clear-groups"


def ctl(box: Container, command: str) -> Any:
    return json.loads(box.run(f"liveupdatectl {command} --json").stdout)


def refused(box: Container, command: str) -> str:
    done = box.run(command, check=False)
    assert done.code != 0, done.stdout
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_a_call_on_the_bus_starts_the_daemon(box: Container) -> None:
    box.run(["systemctl", "stop", "liveupdated"])
    assert ctl(box, "status")["state"] == "idle"
    assert box.run(["systemctl", "is-active", "liveupdated"]).stdout == "active\n"


def test_a_reload_keeps_the_old_settings_when_the_new_ones_are_wrong(box: Container) -> None:
    box.run("systemctl start liveupdated; mkdir -p /etc/liveupdated")
    pid = box.run(["systemctl", "show", "-P", "MainPID", "liveupdated"]).stdout
    box.run("echo '[update]\nsurprise = 1' > /etc/liveupdated/liveupdated.toml")
    box.run(["systemctl", "reload", "liveupdated"])
    assert "surprise" in box.run(["journalctl", "-u", "liveupdated"]).stdout
    box.run("rm /etc/liveupdated/liveupdated.toml; systemctl reload liveupdated")
    assert box.run(["systemctl", "show", "-P", "MainPID", "liveupdated"]).stdout == pid


def test_it_holds_logind_back_from_a_shutdown(box: Container) -> None:
    box.run(["systemctl", "start", "liveupdated"])
    held = box.run(
        "busctl call org.freedesktop.login1 /org/freedesktop/login1 "
        "org.freedesktop.login1.Manager ListInhibitors"
    ).stdout
    assert '"shutdown" "liveupdated"' in held
    limit = box.run(
        "busctl get-property org.freedesktop.login1 /org/freedesktop/login1 "
        "org.freedesktop.login1.Manager InhibitDelayMaxUSec"
    ).stdout
    assert int(limit.split()[1]) >= 30 * 60 * 1_000_000


def test_who_else_delays_a_shutdown_gets_the_time_of_before(box: Container) -> None:
    """As libvirtd does, until the shutdown itself ends it."""
    box.run(["systemctl", "start", "liveupdated"])
    box.run("systemd-run systemd-inhibit --what=shutdown --mode=delay --who=guests sleep infinity")
    box.run("until systemd-inhibit --list | grep -q guests; do sleep 0.2; done")
    box.run("systemctl poweroff")
    box.wait_end(timeout=300)


def test_who_may_not_is_refused_and_who_asks_wrongly_is_told(box: Container) -> None:
    for method in ("Update a{sv} 0", "Unstage a{sv} 0", "Plan a{sv} 0"):
        assert "uthor" in refused(box, f"{NOBODY} busctl call {MANAGER} {method}")
    assert "surprise" in refused(box, f"busctl call {MANAGER} Update a{{sv}} 1 surprise s x")
    assert "no kernel" in refused(box, "liveupdatectl stage 1.2.3-none")
    refused(box, f"{NOBODY} ls /var/lib/liveupdated")
    refused(box, f"{NOBODY} ls /run/liveupdated")


def test_the_schedule_is_the_timers(box: Container) -> None:
    said = box.run(f"busctl call {MANAGER} Schedule sa{{sv}} '2099-01-02 03:04:05 UTC' 0").stdout
    assert re.fullmatch(r"t (\d+)\n", said)
    assert int(said.split()[1]) // 1_000_000 == 4_071_006_245
    assert box.run(["systemctl", "is-enabled", "liveupdated-update.timer"]).stdout == "enabled\n"
    assert "calendar" in refused(box, "liveupdatectl schedule 'now and then'")
    box.run(["liveupdatectl", "unschedule"])
    timer = box.run(["systemctl", "is-enabled", "liveupdated-update.timer"], check=False)
    assert timer.stdout == "disabled\n"


def test_the_plan_names_what_was_started_and_stopped_by_hand(box: Container) -> None:
    box.run("systemd-run --unit=by-hand sleep infinity; systemctl stop memcached.service")
    box.run("systemd-run --unit=carried sleep infinity")
    box.run("mkdir -p /etc/liveupdated/workloads.d")
    box.run(
        'printf \'[[workload]]\\nunit = "carried.service"\\ncarry = "memory"\\n\' '
        "> /etc/liveupdated/workloads.d/carried.toml"
    )
    found = {w["name"]: w for w in ctl(box, "workloads")}
    assert found["by-hand.service"]["verdict"] == "restarted"
    assert "stays stopped" in found["memcached.service"]["reason"]
    carried = found["carried.service"]
    assert (carried["kind"], carried["verdict"]) == ("services", "carried"), carried["reason"]
    box.run("systemd-run --unit=walled -p PrivateUsers=yes sleep infinity")
    box.run("sed -i s/carried.service/walled.service/ /etc/liveupdated/workloads.d/carried.toml")
    walled = {w["name"]: w for w in ctl(box, "workloads")}["walled.service"]
    assert walled["verdict"] == "blocks" and "PrivateUsers=no" in walled["reason"]


def test_an_untrusted_session_does_not_stop_the_daemon(box: Container) -> None:
    box.run("systemctl stop liveupdated; mkdir -p /var/lib/liveupdated/sessions/abc")
    box.run("echo '{}' > /var/lib/liveupdated/sessions/abc/session.json")
    box.run(["ln", "-s", "sessions/abc", "/var/lib/liveupdated/current"])
    assert ctl(box, "status")["state"] == "idle"
    assert "abc" in refused(box, "liveupdatectl update --yes")
    box.run(["rm", "/var/lib/liveupdated/current"])
