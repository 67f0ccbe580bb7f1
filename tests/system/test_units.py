# SPDX-License-Identifier: LGPL-2.1-or-later
"""Units over a boot, on a real systemd: started and stopped by hand, and found again afterwards."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import liveupdated
from tests.lab.image import image
from tests.system.boots import Boots

GENERATOR = Path(liveupdated.__file__).parents[1] / "packaging/libexec/generator"
RESTORE = """\
[Unit]
DefaultDependencies=no
After=systemd-remount-fs.service
Before=sysinit.target shutdown.target
Conflicts=shutdown.target
ConditionPathExists=/var/lib/saved.json
[Service]
Type=notify
ExecStart=/usr/bin/python3 -I /opt/kind_jump.py {step}
RemainAfterExit=yes
# As liveupdated-restore.service.
CapabilityBoundingSet=CAP_KILL CAP_SYS_PTRACE CAP_DAC_OVERRIDE
NoNewPrivileges=yes
UMask=0077
RestrictAddressFamilies=AF_UNIX
SystemCallArchitectures=native
[Install]
WantedBy=sysinit.target
"""
SLEEP = "[Service]\nExecStart=/bin/sleep infinity\n"
FILES = {
    "foo@.service": SLEEP,
    "once.service": (
        "[Unit]\nRequires=foo@dependency.service\n"
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"
    ),
    "held.service": SLEEP + "[Install]\nWantedBy=multi-user.target\n",
    "rules.service": (
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"
        "[Install]\nWantedBy=multi-user.target\n"
    ),
    "ends.service": "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n",
    "held.socket": "[Socket]\nListenStream=/run/held.sock\n[Install]\nWantedBy=sockets.target\n",
    "held.timer": "[Timer]\nOnActiveSec=1d\n[Install]\nWantedBy=timers.target\n",
    "held.path": "[Path]\nPathExists=/nonexistent\n[Install]\nWantedBy=paths.target\n",
    "held.target": "[Install]\nWantedBy=multi-user.target\n",
}
HELD = ("held.path", "held.service", "held.socket", "held.target", "held.timer", "rules.service")
STARTED = (
    "connect.socket",
    "foo@bar.service",
    "foo@enabled.service",
    "once.service",
    "runtime.service",
    "t-calendar.timer",
    "t-count.service",
    "t-path.path",
    "t-timer.timer",
)
BY_HAND = """
set -e
systemd-run --quiet --unit=t-count --uid=nobody --setenv='A=b c' -p MemoryMax=50M -p Nice=5 \
    -p ExecStartPre=/bin/true -p 'ExecStop=+/bin/touch /run/was-stopped' \
    /bin/sh -c 'while :; do sleep 1; done' 'a b' '$$' '%n' '"'
systemctl set-property t-count.service CPUWeight=50
systemd-run --quiet --unit=t-timer --on-active=20min --on-unit-active=30min /bin/true
systemd-run --quiet --unit=t-calendar --on-calendar=hourly /bin/true
systemd-run --quiet --unit=t-path --path-property=PathExists=/nonexistent /bin/true
cd /run/systemd/system
mkdir runtime.service.d
printf '[Service]\nExecStart=/bin/sleep infinity\n' > runtime.service
printf '[Service]\nEnvironment=A=1\n' > runtime.service.d/x.conf
printf '[Socket]\nListenStream=/run/connect.sock\nAccept=yes\n' > connect.socket
printf '[Service]\nExecStart=/bin/echo hello\nStandardOutput=socket\n' > connect@.service
systemctl daemon-reload
systemctl start foo@bar once runtime connect.socket
systemctl set-property --runtime foo@bar.service CPUWeight=66
mkdir multi-user.target.wants
ln -s /etc/systemd/system/foo@.service multi-user.target.wants/foo@enabled.service
systemctl daemon-reload
systemctl start foo@enabled
systemctl stop held.socket held.service held.timer held.path held.target rules
"""
# Of this run and not of the unit: times, ids, what is used at the moment, where the file lies.
OF_THE_RUN = re.compile(
    r"(?i).*(timestamp|pid|id|usec$|^memory|^ip|^io|tasks|cpuusage|effective|dropinpaths|bitmap"
    r"|^refs$|^names$|statuserrno|nextelapse|^timersmonotonic|^job).*"
)
UNIT_LIST = re.compile(r"(\S+\.(service|socket|target|slice|mount|path|timer) ?)+")


@dataclass
class Story:
    """What was seen before and after a jump."""

    boots: Boots
    fresh: list[dict[str, Any]]
    found: dict[str, dict[str, Any]]
    before: dict[str, dict[str, str]]
    outcomes: dict[str, tuple[str, str]]


def show(boots: Boots, unit: str) -> dict[str, str]:
    """The unit's properties, without those of the run."""
    shown: dict[str, str] = {}
    for line in boots.run("systemctl", "show", "--all", unit).splitlines():
        key, _, value = line.partition("=")
        if key.startswith("Exec"):
            value = re.sub(r" ; start_time=.*", "", value)
        if not OF_THE_RUN.match(key) or key in ("User", "Id"):
            if UNIT_LIST.fullmatch(value):
                value = " ".join(sorted(value.split()))
            shown[key] = f"{shown.get(key, '')}{value}"
    return shown


def find(boots: Boots) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(boots.run("python3", "/opt/kind_jump.py", "find"))
    return found


def differing(found: list[dict[str, Any]]) -> list[str]:
    """What was started or stopped by hand."""
    return sorted(w["name"] for w in found if not w["facts"].keys() & {"boot", "waits"})


def state(boots: Boots, *units: str) -> list[str]:
    return boots.run("systemctl", "is-active", *units, check=False).split()


def outcomes(boots: Boots) -> dict[str, tuple[str, str]]:
    end = time.monotonic() + 200
    while boots.run("systemctl", "show", "-PSubState", "jump.service").strip() != "exited":
        assert time.monotonic() < end, boots.run("journalctl", "-b", "-u", "jump.service")
        time.sleep(0.5)
    listed = json.loads(boots.run("cat", "/var/lib/outcomes.json"))
    return {name: (outcome, reason) for name, outcome, reason in listed}


def install(boots: Boots) -> None:
    """The units of FILES, enabled, the generator in boots that it takes for jumps, and a stand-in
    for the restore unit."""
    script = (Path(__file__).parent / "kind_jump.py").read_text()
    boots.run("tee", "/opt/kind_jump.py", text=script)
    boots.run("tee", "/opt/generator", text=GENERATOR.read_text())
    boots.run("mkdir", "-p", "/etc/systemd/system-generators", "/opt/root/proc/sys/kernel/random")
    boots.run("ln", "-s", "/run", "/opt/root/run")
    boots.run("tee", "/opt/root/proc/cmdline", text="liveupdated.token=token\n")
    boots.run("tee", "/opt/root/proc/sys/kernel/random/boot_id", text="another\n")
    wrapper = '#!/bin/sh\nLIVEUPDATED_ROOT=/opt/root exec sh /opt/generator "$@"\n'
    boots.run("tee", "/etc/systemd/system-generators/jump", text=wrapper)
    boots.run("chmod", "755", "/etc/systemd/system-generators/jump")
    step = "restore"
    for name, text in {**FILES, "jump.service": RESTORE.format(step=step)}.items():
        boots.run("tee", f"/etc/systemd/system/{name}", text=text)
    enabled = [name for name, text in FILES.items() if "[Install]" in text]
    boots.run("systemctl", "enable", "jump.service", *enabled)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """One jump's worth of boots; a failure shows the console and the restore's journal."""
    package = Path(liveupdated.__file__).parent
    with Boots(image().root, tmp_path_factory.mktemp("boots"), package) as boots:
        install(boots)
        boots.reboot()
        fresh = find(boots)
        boots.run("sh", "-c", BY_HAND)
        found = {w["name"]: w for w in find(boots)}
        before = {name: show(boots, name) for name in STARTED}
        boots.run("python3", "/opt/kind_jump.py", "save")
        boots.reboot()
        yield Story(boots, fresh, found, before, outcomes(boots))


def test_after_a_boot_nothing_is_by_hand(story: Story) -> None:
    assert differing(story.fresh) == []
    assert {"redis-server.service", "held.service"} <= {w["name"] for w in story.fresh}


def test_what_was_done_by_hand_is_found_and_nothing_else(story: Story) -> None:
    expected = sorted([*STARTED, *HELD, "foo@dependency.service"])
    assert differing(list(story.found.values())) == expected


def test_each_has_come_back(story: Story) -> None:
    for name in (*STARTED, "foo@dependency.service"):
        assert story.outcomes[name] == ("restarted", ""), name
    assert set(state(story.boots, *STARTED)) == {"active"}


@pytest.mark.parametrize("name", STARTED)
def test_with_all_properties_it_had(story: Story, name: str) -> None:
    before, after = story.before[name], show(story.boots, name)
    if name == "foo@enabled.service":  # the link of that boot is gone
        assert "multi-user.target" in before["WantedBy"]
        link = ("WantedBy", "Before", "UnitFileState")
        before = {**before, **{key: after[key] for key in link}}
    assert after == before


def test_the_service_of_a_transient_timer_is_there_and_waits(story: Story) -> None:
    shown = show(story.boots, "t-timer.service")
    assert (shown["Transient"], shown["ActiveState"]) == ("yes", "inactive")
    assert "/bin/true" in shown["ExecStart"]


def test_a_timers_time_goes_on(story: Story) -> None:
    shown = story.boots.run("systemctl", "show", "-PTimersMonotonic", "t-timer.timer")
    assert "OnUnitActiveUSec=30min" in shown
    (minutes,) = re.findall(r"OnActiveUSec=(\d+)min .*?s ;", shown)
    assert 10 <= int(minutes) < 20


def test_what_was_stopped_has_stayed_stopped(story: Story) -> None:
    for name in HELD:
        assert story.outcomes[name] == ("carried", "stopped by hand: stays stopped")
    assert set(state(story.boots, *HELD)) == {"inactive"}


def test_an_accepting_socket_serves(story: Story) -> None:
    answer = story.boots.run("socat", "-u", "UNIX-CONNECT:/run/connect.sock", "-")
    assert answer == "hello\n"


def test_the_next_jump_finds_the_same_by_hand(story: Story) -> None:
    found = find(story.boots)
    assert differing(found) == sorted([*STARTED, *HELD, "foo@dependency.service"])
    for workload in found:
        if not workload["name"].startswith("t-"):  # their file is a drop-in since
            assert workload == story.found[workload["name"]]


def test_what_is_on_somebodys_terminal_is_lost(story: Story) -> None:
    # script(1) gives systemd-run a terminal.
    command = "systemd-run --quiet --unit=t-pty --pty sleep 1000"
    story.boots.run("systemd-run", "--unit=t-script", "script", "-qec", command, "/dev/null")
    for _ in range(50):
        found = {w["name"]: w for w in find(story.boots)}
        if "t-pty.service" in found:
            break
    assert found["t-pty.service"]["verdict"] == "lost"
    story.boots.run("systemctl", "stop", "t-pty.service", "t-script.service")


def test_once_released_everything_is_as_ever(story: Story) -> None:
    """Also: the release is what makes the difference, and a transient unit goes with its stop."""
    boots = story.boots
    boots.run("systemctl", "start", "held.service")
    assert state(boots, "held.service") == ["inactive"]
    boots.run("python3", "/opt/kind_jump.py", "settle")
    boots.run("systemctl", "start", "held.socket")  # refuses when its service is up already
    boots.run("systemctl", "start", *HELD)
    assert set(state(boots, *HELD)) == {"active"}
    boots.run("systemctl", "daemon-reload")
    assert "liveupdated" not in boots.run("systemctl", "show", "-PDropInPaths", *HELD)
    assert set(differing(find(boots))).isdisjoint(HELD)
    boots.run("systemctl", "stop", "t-count.service", "t-timer.timer")
    boots.run("test", "-e", "/run/was-stopped")
    gone = ("t-count.service", "t-timer.timer", "t-timer.service")
    for name in gone:
        assert boots.run("systemctl", "show", "-PLoadState", name) == "not-found\n"
    left = boots.run("ls", "/run/systemd/transient").split()
    assert not [name for name in left if name.startswith(gone)]


def test_a_boot_that_was_no_jump_brings_the_same(story: Story) -> None:
    boots = story.boots
    boots.run("systemctl", "stop", *HELD)
    expected = differing(find(boots))
    assert set(HELD) < set(expected)
    boots.run("python3", "/opt/kind_jump.py", "save")
    boots.run("rm", "/etc/systemd/system-generators/jump")
    boots.run("tee", "/etc/systemd/system/jump.service", text=RESTORE.format(step="restart"))
    boots.reboot()
    ended = outcomes(boots)
    assert {ended[name][0] for name in HELD} == {"carried"}
    assert set(state(boots, *HELD)) == {"inactive"}
    assert differing(find(boots)) == expected
