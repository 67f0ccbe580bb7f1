# SPDX-License-Identifier: LGPL-2.1-or-later
"""A message bus of its own with a real polkitd on it, and ours installed as a package would."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).parent.parent.parent
SYSTEM_CONF = Path("/usr/share/dbus-1/system.conf")
POLKIT_POLICY = "/usr/share/dbus-1/system.d/org.freedesktop.PolicyKit1.conf"
POLKIT_ACTIONS = Path("/usr/share/polkit-1/actions")
POLKITD = next(
    path
    for path in ("/usr/lib/polkit-1/polkitd", "/usr/libexec/polkitd", "/usr/lib/polkitd")
    if Path(path).exists()
)

ALLOWED_USER = "games"
"""The rules grant this user everything; in polkit's own words, everything of ours."""
REFUSED_USER = "nobody"

STRANGER = "org.example.Stranger"
"""A name that anybody may own and call: another service."""

RULES = f"""
polkit.addRule(function(action, subject) {{
    if (action.id.indexOf("org.liveupdate1.") == 0 && subject.user == "{ALLOWED_USER}")
        return polkit.Result.YES;
}});
polkit.addAdminRule(function(action, subject) {{ return ["unix-user:root"]; }});
"""


@dataclass
class PrivateBus:
    """A running bus."""

    address: str
    folder: Path

    def environment(self) -> dict[str, str]:
        return {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.address}

    def busctl_as(self, user: str, *words: str) -> list[str]:
        """The command that calls a method of ours as `user`."""
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        if user == REFUSED_USER:
            become[2] = "--regid=nogroup"
        return [*become, "busctl", f"--address={self.address}", "call", *words]


@contextlib.contextmanager
def private_bus(polkit: bool = True) -> Iterator[PrivateBus]:
    """dbus-daemon with the policy of a system bus and ours, and polkitd with our actions."""
    folder = Path(tempfile.mkdtemp(prefix="liveupdated-bus-"))
    folder.chmod(0o755)
    bus = PrivateBus(f"unix:path={folder}/socket", folder)
    try:
        config = folder / "bus.conf"
        config.write_text(_config(folder))
        with contextlib.ExitStack() as stack:
            daemon = ["dbus-daemon", f"--config-file={config}", "--nofork"]
            stack.enter_context(_process(daemon, bus))
            if polkit:
                stack.enter_context(_process(_polkitd(folder), bus))
                _wait_for_name(bus, "org.freedesktop.PolicyKit1")
            yield bus
    finally:
        shutil.rmtree(folder)


def _config(folder: Path) -> str:
    """The host's own system.conf, on another socket, with nothing included but what we test."""
    text = SYSTEM_CONF.read_text()
    for line in (
        "<fork/>",
        "<user>messagebus</user>",
        "<syslog/>",
        "<standard_system_servicedirs/>",
    ):
        text = text.replace(line, "")
    lines = [
        line
        for line in text.splitlines()
        if not any(f"<{t}" in line for t in ("listen", "pidfile", "servicehelper", "include"))
    ]
    ours = (
        f"<listen>unix:path={folder}/socket</listen>"
        f"<include>{POLKIT_POLICY}</include>"
        f"<include>{REPO}/dbus/org.liveupdate1.conf</include>"
        f'<policy context="default"><allow own="{STRANGER}"/>'
        f'<allow send_destination="{STRANGER}"/></policy></busconfig>'
    )
    return "\n".join(lines).replace("</busconfig>", ours)


def _polkitd(folder: Path) -> list[str]:
    actions, rules = folder / "actions", folder / "rules"
    actions.mkdir(mode=0o755)
    rules.mkdir(mode=0o755)
    shutil.copy(POLKIT_ACTIONS / "org.freedesktop.policykit.policy", actions)
    shutil.copy(REPO / "dbus/org.liveupdate1.policy", actions)
    (rules / "10-test.rules").write_text(RULES)
    script = (
        'mount --bind "$1" /usr/share/polkit-1/actions && '
        'mount --bind "$2" /etc/polkit-1/rules.d && exec "$3" --no-debug'
    )
    return ["unshare", "-m", "sh", "-c", script, "sh", str(actions), str(rules), POLKITD]


@contextlib.contextmanager
def _process(command: list[str], bus: PrivateBus) -> Iterator[None]:
    log = bus.folder / f"{Path(command[0]).name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=bus.environment(), stdout=output, stderr=output, start_new_session=True
        )
    try:
        if command[0] == "dbus-daemon":
            _wait((bus.folder / "socket").exists, log)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(10)


def _wait_for_name(bus: PrivateBus, name: str) -> None:
    def owned() -> bool:
        status = ["busctl", "call", f"--address={bus.address}"]
        where = ["org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus"]
        answer = subprocess.run(
            [*status, *where, "NameHasOwner", "s", name],
            capture_output=True,
            text=True,
            check=False,
        )
        return answer.stdout.strip() == "b true"

    _wait(owned, bus.folder / "unshare.log")


def _wait(condition: Callable[[], bool], log: Path) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.02)
