# SPDX-License-Identifier: LGPL-2.1-or-later
"""User sessions: a lingering user's units, a login, applications of a desktop."""

import time
from typing import Any

from tests.lab.qemu import Machine
from tests.vm.kinds import Row

UID = 4001
HOME = "/home/alice"
TRACE = f"{HOME}/trace"
SLEEP = "[Service]\nExecStart=/bin/sleep infinity\n"
FILES = {
    f"{HOME}/.config/systemd/user/enabled.service": SLEEP + "[Install]\nWantedBy=default.target\n",
    f"{HOME}/.local/open": f"echo $1 >> {TRACE}\nexec sleep 100000\n",
    f"{HOME}/.config/liveupdated/reopen.toml": 'exclude = ["*.Unwanted"]\n',
    "/etc/systemd/user/desk.target": "[Unit]\nBindsTo=graphical-session.target\n",
}
APPS = ("Foo", "Bar", "Unwanted")
"""In the order in which they are opened."""
FILES |= {
    f"{HOME}/.local/share/applications/org.example.{name}.desktop": (
        f"[Desktop Entry]\nType=Application\nName={name}\nExec=/bin/sh .local/open {name} %U\n"
    )
    for name in APPS
}
AS_ALICE = (
    f"setpriv --reuid=alice --regid=alice --init-groups env -i HOME={HOME} "
    f"XDG_RUNTIME_DIR=/run/user/{UID} PATH=/usr/bin:/bin"
)
USERS = f"""
set -e
useradd --create-home --uid={UID} --shell=/bin/sh alice
useradd --create-home --uid={UID + 1} --shell=/bin/sh bob
chown -R alice:alice {HOME}
loginctl enable-linger alice
systemd-run --quiet --unit=login-bob -p User=bob -p PAMName=login \
    --setenv=XDG_SESSION_CLASS=user --setenv=XDG_SESSION_TYPE=tty sleep infinity
until [ -S /run/user/{UID}/bus ] && [ -S /run/user/{UID + 1}/systemd/private ]; do sleep 1; done
{AS_ALICE} systemctl --user enable --now enabled
{AS_ALICE} systemd-run --user --quiet --unit=t-count --setenv='A=b c' -p MemoryMax=50M -p Nice=5 \
    sh -c 'while :; do date +%s >> {HOME}/ticks; sleep 1; done'
{AS_ALICE} systemd-run --user --quiet --unit=t-timer --on-active=5h --on-unit-active=6h true
"""
SCOPE = "app-gnome-org.example.{}-123.scope"
OPEN = f"{AS_ALICE} systemd-run --user --quiet --scope --unit={SCOPE} sleep infinity"
PROPERTIES = "ActiveState,Transient,Nice,MemoryMax,Environment"
COUNT = ["ActiveState=active", 'Environment="A=b c"', "MemoryMax=52428800", "Nice=5"]
COUNT += ["Transient=yes"]

PLANNED = {
    "sessions:alice": "restarted",
    "sessions:bob": "restarted",
    "sessions:alice:t-count.service": "restarted",
    "sessions:alice:t-timer.timer": "restarted",
    "sessions:alice:org.example.Foo": "reopened",
    "sessions:alice:org.example.Bar": "reopened",
}
OUTCOMES = PLANNED
ALTER = f"sed -i s/^alice:/carol:/ /etc/passwd; rm -f {TRACE}"
ALTERED = {
    "sessions:alice:t-count.service": ("failed", "is not alice's any more"),
    "sessions:alice:org.example.Foo": ("failed", "is not alice's any more"),
    "sessions:bob": ("restarted", "when bob logs in again"),
}


def furnish(vm: Machine) -> None:
    for path, text in FILES.items():
        vm.put(text.encode(), path)
    vm.run(USERS, timeout=300)
    for name in APPS:
        vm.start(OPEN.format(name))
        wait(vm, f"{AS_ALICE} systemctl --user is-active {SCOPE.format(name)}")


def wait(vm: Machine, command: str) -> None:
    end = time.monotonic() + 120
    while vm.run(command, check=False, timeout=60).code != 0:
        assert time.monotonic() < end, command
        time.sleep(1)


def assert_goes_on(vm: Machine) -> None:
    """The unit is what it was, and it runs."""
    shown = vm.run(f"{AS_ALICE} systemctl --user show -p {PROPERTIES} t-count.service").stdout
    assert sorted(shown.splitlines()) == COUNT
    vm.run(f"a=$(stat -c %s {HOME}/ticks); sleep 3; test $(stat -c %s {HOME}/ticks) -gt $a")
    shown = vm.run(f"{AS_ALICE} systemctl --user show -P TimersMonotonic t-timer.timer").stdout
    assert "OnUnitActiveUSec=6h" in shown
    vm.run(f"{AS_ALICE} systemctl --user is-active enabled t-timer.timer")


def assert_planned(vm: Machine, rows: dict[str, Row]) -> None:
    """Who is logged in is named, and no reason to refuse."""
    (login,) = [row for name, row in rows.items() if name.startswith("sessions:bob/")]
    assert login["verdict"] == "lost"
    assert "enabled.service" in rows["sessions:alice"]["reason"]
    unwanted = "org.example.Unwanted"
    assert f"as alice wishes: {unwanted}" in rows["sessions:alice"]["reason"]
    assert f"sessions:alice:{unwanted}" not in rows


def assert_returned(vm: Machine, session: dict[str, Any]) -> None:
    """The applications wait for their user, and are opened once, in their order."""
    rows = {row["id"]: row for row in session["workloads"]}
    assert "when alice logs in again" in rows["sessions:alice:org.example.Foo"]["outcome_reason"]
    vm.run(f"test ! -e {TRACE}")
    vm.run(f"{AS_ALICE} systemctl --user start desk.target")
    wait(vm, f"grep -q Bar {TRACE}")
    vm.run(f"{AS_ALICE} systemctl --user stop desk.target")
    vm.run(f"{AS_ALICE} systemctl --user start desk.target")
    assert vm.run(["cat", TRACE]).stdout == "Foo\nBar\n"
    for name in ("Foo", "Bar"):
        unit = f"'app-liveupdated-org.example.{name}@*.service'"
        vm.run(f"{AS_ALICE} systemctl --user is-active {unit}")
