# SPDX-License-Identifier: LGPL-2.1-or-later
"""User sessions over a boot, with a real logind and real user managers."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import liveupdated
from tests.lab.image import image
from tests.system.boots import Boots

REPO = Path(__file__).parents[2]
RESTORE = """\
[Unit]
DefaultDependencies=no
After=systemd-remount-fs.service
Before=sysinit.target shutdown.target
Conflicts=shutdown.target
ConditionPathExists=/var/lib/saved.json
[Service]
Type=notify
Environment=KIND=sessions
ExecStart=/usr/bin/python3 -I /opt/kind_jump.py restore
RemainAfterExit=yes
UMask=0077
{sandbox}
[Install]
WantedBy=sysinit.target
"""
SLEEP = "[Service]\nExecStart=/bin/sleep infinity\n"
HOME_UNITS = "/home/alice/.config/systemd/user"
TRACE = "/home/alice/trace"
FILES = {
    f"{HOME_UNITS}/enabled.service": SLEEP + "[Install]\nWantedBy=default.target\n",
    f"{HOME_UNITS}/stopped.service": SLEEP + "[Install]\nWantedBy=default.target\n",
    f"{HOME_UNITS}/byhand.service": SLEEP,
    f"{HOME_UNITS}/carry.service": SLEEP.replace("[Service]", "[Service]\nX-LiveUpdate=carry"),
    "/home/alice/.local/share/applications/org.example.Foo-bar.desktop": (
        "[Desktop Entry]\nType=Application\nName=Foo\n"
        f'Exec=/bin/sh -c "echo opened \\\\$DISPLAY >> {TRACE}; exec sleep 1000" foo %U\n'
    ),
    "/etc/systemd/user/desk.target": (
        "[Unit]\nBindsTo=graphical-session.target\nWants=panel.service\n"
    ),
    "/etc/systemd/user/panel.service": "[Unit]\nPartOf=graphical-session.target\n" + SLEEP,
}
BY_ALICE = r"""
set -e
cd
systemctl --user start byhand carry desk.target
systemctl --user stop stopped
systemd-run --user --quiet --unit=t-count --setenv='A=b c' -p MemoryMax=50M -p Nice=5 \
    /bin/sh -c 'while :; do sleep 1; done' 'a b' '$$' '%n'
systemd-run --user --quiet --unit=t-timer --on-active=20min --on-unit-active=30min /bin/true
mkdir $XDG_RUNTIME_DIR/systemd/user
printf '[Service]\nExecStart=/bin/sleep infinity\n' > $XDG_RUNTIME_DIR/systemd/user/run.service
systemctl --user daemon-reload
systemctl --user start run
for scope in app-gnome-org.example.Foo\\x2dbar-123 app-gnome-org.example.Gone-4 tmux-spawn-5; do
    systemd-run --user --quiet --scope --unit=$scope.scope sleep infinity > /dev/null 2>&1 &
done
"""
STARTED = ("byhand.service", "run.service", "t-count.service", "t-timer.timer")
LOST = ("app-gnome-org.example.Gone-4.scope", "tmux-spawn-5.scope")
# Not `id -u`: what it is in the image is the image's business.
UIDS = {"alice": 4001, "bob": 4002}


@dataclass
class Story:
    """What was seen before and after a jump."""

    boots: Boots
    found: dict[str, dict[str, Any]]
    before: dict[str, str]
    outcomes: dict[str, tuple[str, str]]


def as_user(boots: Boots, user: str, command: str, check: bool = True) -> str:
    become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "env", "-i"]
    become += [f"HOME=/home/{user}", f"XDG_RUNTIME_DIR=/run/user/{UIDS[user]}"]
    return boots.run(*become, "PATH=/usr/bin:/bin", "sh", "-c", command, check=check)


def wait(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.5)


def find(boots: Boots) -> dict[str, dict[str, Any]]:
    found = boots.run("env", "KIND=sessions", "python3", "/opt/kind_jump.py", "find")
    return {workload["id"]: workload for workload in json.loads(found)}


def outcomes(boots: Boots) -> dict[str, tuple[str, str]]:
    def over() -> bool:
        return boots.run("systemctl", "show", "-PSubState", "jump.service").strip() == "exited"

    wait(over, "the restore goes on and on")
    listed = json.loads(boots.run("cat", "/var/lib/outcomes.json"))
    return {name: (outcome, reason) for name, outcome, reason in listed}


def show(boots: Boots, unit: str) -> str:
    properties = "Transient,Nice,MemoryMax,Environment,ExecStart,TimersMonotonic,ActiveState"
    shown = as_user(boots, "alice", f"systemctl --user show -p {properties} {unit}")
    return "\n".join(line.partition(" ; start_time=")[0] for line in shown.splitlines())


def sandbox() -> str:
    """What the real restore unit is allowed."""
    lines = (REPO / "systemd/system/liveupdated-restore.service").read_text().splitlines()
    keys = ("CapabilityBoundingSet=", "NoNewPrivileges=", "RestrictAddressFamilies=", "KeyringMode")
    return "\n".join(line for line in lines if line.startswith(keys))


def install(boots: Boots) -> None:
    script = (Path(__file__).parent / "kind_jump.py").read_text()
    boots.run("tee", "/opt/kind_jump.py", text=script)
    boots.run("mkdir", "-p", "/usr/libexec/liveupdated")
    boots.run(
        "tee",
        "/usr/libexec/liveupdated/reopen",
        text=(REPO / "packaging/libexec/reopen").read_text(),
    )
    boots.run("chmod", "755", "/usr/libexec/liveupdated/reopen")
    unit = (REPO / "systemd/user/liveupdated-reopen.service").read_text()
    boots.run("tee", "/etc/systemd/user/liveupdated-reopen.service", text=unit)
    wants = "/etc/systemd/user/graphical-session.target.wants"
    boots.run("mkdir", "-p", wants)
    boots.run("ln", "-s", "../liveupdated-reopen.service", wants)
    jump = RESTORE.format(sandbox=sandbox())
    boots.run("tee", "/etc/systemd/system/jump.service", text=jump)
    boots.run("systemctl", "enable", "jump.service")
    for user, uid in UIDS.items():
        boots.run("useradd", "--create-home", f"--uid={uid}", "--shell=/bin/sh", user)
    for path, text in FILES.items():
        boots.run("mkdir", "-p", str(Path(path).parent))
        boots.run("tee", path, text=text)
    boots.run("chown", "-R", "alice:alice", "/home/alice")
    boots.run("loginctl", "enable-linger", "alice")
    wait_manager(boots, "alice")
    as_user(boots, "alice", "systemctl --user enable --now enabled stopped")


def wait_manager(boots: Boots, user: str) -> None:
    def up() -> bool:
        state = as_user(boots, user, "systemctl --user is-system-running", check=False)
        return state.strip() in ("running", "degraded")

    wait(up, f"the manager of {user} does not come up")


def log_in_bob(boots: Boots) -> None:
    """As a person at a terminal, who starts something by hand."""
    login = ["systemd-run", "--quiet", "--unit=login-bob", "-p", "User=bob", "-p", "PAMName=login"]
    login += ["--setenv=XDG_SESSION_CLASS=user", "--setenv=XDG_SESSION_TYPE=tty"]
    boots.run(*login, "sleep", "infinity")
    wait_manager(boots, "bob")
    as_user(boots, "bob", "systemd-run --user --quiet --unit=t-bob sleep infinity")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """One jump's worth of boots."""
    package = Path(liveupdated.__file__).parent
    with Boots(image().root, tmp_path_factory.mktemp("boots"), package) as boots:
        install(boots)
        log_in_bob(boots)
        as_user(boots, "alice", BY_ALICE)
        wait(lambda: set(names(*LOST)) < set(find(boots)), "the scopes do not come up")
        found = find(boots)
        before = {unit: show(boots, unit) for unit in STARTED}
        boots.run("env", "KIND=sessions", "python3", "/opt/kind_jump.py", "save")
        boots.reboot()
        yield Story(boots, found, before, outcomes(boots))


def names(*units: str) -> list[str]:
    return [f"sessions:alice:{unit}" for unit in units]


def verdicts(found: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: workload["verdict"] for name, workload in found.items()}


def test_all_that_is_there_is_found_and_nothing_else(story: Story) -> None:
    (login,) = [name for name in story.found if "/" in name]
    assert verdicts(story.found) == {
        login: "lost",
        "sessions:alice": "restarted",
        "sessions:bob": "restarted",
        **dict.fromkeys(names(*STARTED), "restarted"),
        **dict.fromkeys(names(*LOST), "lost"),
        "sessions:alice:carry.service": "blocks",
        "sessions:alice:stopped.service": "carried",
        "sessions:alice:org.example.Foo-bar": "reopened",
        "sessions:bob:t-bob.service": "lost",
    }
    assert login.startswith("sessions:bob/")
    assert "logged in on" in story.found[login]["reason"]
    assert "enabled.service, panel.service" in story.found["sessions:alice"]["reason"]
    assert "enable-linger bob" in story.found["sessions:bob:t-bob.service"]["reason"]


def test_each_has_come_back(story: Story) -> None:
    assert story.outcomes["alice"] == ("restarted", "")
    for unit in STARTED:
        assert story.outcomes[f"alice:{unit}"] == ("restarted", ""), unit
    for unit in LOST:
        assert story.outcomes[f"alice:{unit}"][0] == "lost"
    assert story.outcomes["alice:stopped.service"][0] == "carried"
    assert story.outcomes["bob"] == ("restarted", "when bob logs in again")
    assert story.outcomes["bob:t-bob.service"][0] == "lost"
    state = as_user(story.boots, "alice", "systemctl --user is-active stopped", check=False)
    assert state == "inactive\n"


@pytest.mark.parametrize("unit", STARTED[:3])
def test_with_all_properties_it_had(story: Story, unit: str) -> None:
    assert show(story.boots, unit) == story.before[unit]


def test_a_timers_time_goes_on(story: Story) -> None:
    shown = show(story.boots, "t-timer.timer")
    assert "OnUnitActiveUSec=30min" in shown
    assert "OnActiveUSec=1" in shown


def test_what_was_put_back_is_the_users(story: Story) -> None:
    folder = f"/run/user/{UIDS['alice']}/systemd"
    assert story.boots.run("find", folder, "!", "-user", "alice") == ""


def test_an_application_is_opened_once_its_user_is_back(story: Story) -> None:
    boots = story.boots
    assert story.outcomes["alice:org.example.Foo-bar"] == (
        "reopened",
        "when alice logs in again",
    )
    folder = f"/run/liveupdated-reopen/{UIDS['alice']}"
    assert boots.run("stat", "-c", "%U %a", folder) == "alice 700\n"
    found = find(boots)["sessions:alice:org.example.Foo-bar"]
    assert (found["verdict"], "goes on waiting" in found["reason"]) == ("reopened", True)
    desk = "systemctl --user set-environment DISPLAY=:7; systemctl --user start desk.target"
    as_user(boots, "alice", desk)
    wait(lambda: "opened" in boots.run("cat", TRACE, check=False), "nothing was opened")
    assert boots.run("cat", TRACE) == "opened :7\n"
    assert boots.run("ls", folder) == ""
    found = find(boots)["sessions:alice:org.example.Foo-bar"]
    assert "empty" in found["reason"]
    as_user(boots, "alice", "systemctl --user stop desk.target; systemctl --user start desk.target")
    assert boots.run("cat", TRACE) == "opened :7\n"


def test_a_manager_that_hangs_is_named(story: Story) -> None:
    boots = story.boots
    main = boots.run("systemctl", "show", "-PMainPID", f"user@{UIDS['alice']}").strip()
    boots.run("kill", "-STOP", main)
    boots.run("sed", "-i", "s/^KIND = .*/&\\nKIND.LOOK_LIMIT_S = 5/", "/opt/kind_jump.py")
    try:
        found = find(boots)
    finally:
        boots.run("kill", "-CONT", main)
    assert found["sessions:alice"]["verdict"] == "lost"
    assert "does not answer" in found["sessions:alice"]["reason"]
    assert not [name for name in found if name.startswith("sessions:alice:")]


def test_a_user_who_is_gone_is_named(story: Story) -> None:
    boots = story.boots
    boots.run("env", "KIND=sessions", "python3", "/opt/kind_jump.py", "save")
    boots.run("sed", "-i", "s/^alice:/carol:/", "/etc/passwd")
    boots.reboot()
    ended = outcomes(boots)
    assert ended["alice:byhand.service"][0] == "failed"
    assert "not alice's any more" in ended["alice:byhand.service"][1]
