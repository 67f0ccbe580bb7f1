# SPDX-License-Identifier: LGPL-2.1-or-later
"""Alice, logged in at a desktop in a container."""

import json
import shlex
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.lab.container import Container

HERE = Path(__file__).parent
PICTURES = HERE.parents[1] / "build/pictures"
"""Looked at, and then copied to docs/images, by hand."""
USER, UID, PASSWORD = "alice", 4001, "secret"
EXTENSION = "liveupdated@liveupdate1.org"
_LIMIT_S = 60
# Nothing but what a display manager and a session manager would do.
_LOGIN = f"""
useradd --create-home --uid={UID} --groups=sudo --shell=/bin/bash {USER}
echo {USER}:{PASSWORD} | chpasswd
systemd-run --quiet --unit=login --uid={USER} --property=PAMName=login --setenv=XDG_SEAT=seat0 \
    --setenv=XDG_SESSION_CLASS=user --setenv=XDG_SESSION_TYPE=wayland sleep infinity
until systemctl --quiet is-active user@{UID}.service; do sleep 0.1; done
"""
_TARGET = """\
[Unit]
BindsTo=graphical-session.target
Before=graphical-session.target
"""
_DESKTOP = """\
[Unit]
PartOf=graphical-session.target
Before=graphical-session.target
[Service]
Type={type}
Environment={environment}
ExecStart={command}
"""
_SHELL = "/usr/bin/gnome-shell --headless --wayland --unsafe-mode --no-x11"
_GNOME = "LIBGL_ALWAYS_SOFTWARE=1 XDG_SESSION_TYPE=wayland XDG_CURRENT_DESKTOP=GNOME"
_KWIN = "/usr/bin/kwin_wayland --x11-display=:7 --width=1280 --height=720 --socket=wayland-0"
_KDE = (
    "XDG_SESSION_TYPE=wayland XDG_CURRENT_DESKTOP=KDE KDE_FULL_SESSION=true KWIN_COMPOSE=Q "
    "QT_QUICK_BACKEND=software QT_LINUX_ACCESSIBILITY_ALWAYS_ON=1"
)


class Desk(ABC):
    """The user's half of a container."""

    def __init__(self, box: Container) -> None:
        self.box = box
        box.run(_LOGIN)
        box.put(_TARGET.encode(), "/etc/systemd/user/desk.target")
        box.put((HERE / "atspi.py").read_bytes(), "/opt/atspi.py", 0o644)

    def run(self, command: str, *, check: bool = True) -> str:
        """What a command of alice's prints."""
        become = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", "env"]
        become += [f"HOME=/home/{USER}", f"USER={USER}", f"XDG_RUNTIME_DIR=/run/user/{UID}"]
        become += [f"DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/{UID}/bus", "sh", "-c", command]
        return self.box.run(become, check=check).stdout

    def start(self, name: str, command: str, environment: str, kind: str = "simple") -> None:
        """Start a unit of the desktop."""
        unit = _DESKTOP.format(type=kind, environment=environment, command=command)
        self.box.put(unit.encode(), f"/etc/systemd/user/{name}.service")
        self.run(f"systemctl --user daemon-reload; systemctl --user start {name}")

    def arrive(self) -> None:
        """The graphical session is there."""
        self.run("systemctl --user start desk.target")

    def tell(self, environment: str) -> None:
        """What a session tells the programs that it has started."""
        self.run(f"dbus-update-activation-environment --systemd {environment}")
        self.run("gsettings set org.gnome.desktop.interface toolkit-accessibility true")

    def read(self) -> list[str]:
        """All that assistive technology reads in windows."""
        return list(json.loads(self._assist("texts")))

    def _assist(self, *words: str) -> str:
        return self.run(f"python3 /opt/atspi.py {shlex.join(words)}")

    @abstractmethod
    def texts(self) -> list[str]:
        """All that can be read on the screen."""

    def until_text(self, text: str) -> None:
        self.until(lambda: any(text in each for each in self.texts()), f"{text!r} is not shown")

    def until_no_text(self, text: str) -> None:
        self.until(lambda: all(text not in each for each in self.texts()), f"{text!r} stays")

    def until_read(self, text: str) -> None:
        self.until(lambda: any(text in each for each in self.read()), f"{text!r} is not read")

    def until(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + _LIMIT_S
        while not condition():
            assert time.monotonic() < end, f"{what}: {self.texts()}"
            time.sleep(0.2)

    def keep_picture(self, name: str) -> None:
        """Of /tmp/picture.png."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        (PICTURES / f"{name}.png").write_bytes(self.box.get("/tmp/picture.png"))

    def evidence(self) -> str:
        journal = self.run("journalctl --user --no-pager --lines=200", check=False)
        return self.box.evidence() + "\n== of the user\n" + journal


class Gnome(Desk):
    """With GNOME Shell, and the extension switched on."""

    def __init__(self, box: Container) -> None:
        super().__init__(box)
        self.run(f"gsettings set org.gnome.shell enabled-extensions \"['{EXTENSION}']\"")
        self.run("gsettings set org.gnome.shell welcome-dialog-last-shown-version 999")
        # What GNOME says about the lock screen, once, it has said.
        warned = ".local/share/gnome-shell/lock-warning-shown"
        self.run(f"cd && mkdir -p {Path(warned).parent} && touch {warned}")
        self.start("shell", f"{_SHELL} --virtual-monitor 1280x720", _GNOME, "notify")
        self.arrive()
        self.version = self.run("gnome-shell --version").split()[-1].partition(".")[0]
        self.until(lambda: not self.evaluate("Main.layoutManager._startingUp"), "it starts up")
        self.evaluate("Main.overview.hide()")
        self.tell("WAYLAND_DISPLAY=wayland-0 XDG_CURRENT_DESKTOP=GNOME")

    def open_window(self) -> None:
        self.run("gapplication launch org.liveupdate1.Window")

    def evaluate(self, code: str) -> Any:
        """What a piece of JavaScript gives."""
        call = "busctl --user --json=short call org.gnome.Shell /org/gnome/Shell org.gnome.Shell"
        self.box.put(code.encode(), "/tmp/code")
        done, value = json.loads(self.run(f'{call} Eval s "$(cat /tmp/code)"'))["data"]
        assert done, value
        return json.loads(value) if value else None

    def _see(self, code: str) -> Any:
        return self.evaluate((HERE / "eyes.js").read_text().strip() + "." + code)

    def texts(self) -> list[str]:
        """All that can be read on the screen."""
        return list(self._see("texts()"))

    def press(self, label: str) -> None:
        assert self._see(f"press({json.dumps(label)})"), f"no {label!r} in {self.texts()}"

    def type(self, words: str) -> None:
        self._see(f"type({json.dumps(words)})")

    def quick_settings(self, shown: bool) -> None:
        self._see("openQuickSettings()" if shown else "closeQuickSettings()")

    def picture(self, name: str) -> None:
        """What the screen looks like, when nothing moves any more."""
        time.sleep(1)
        call = "gdbus call --session -d org.gnome.Shell -o /org/gnome/Shell/Screenshot"
        self.run(f"{call} -m org.gnome.Shell.Screenshot.Screenshot false false /tmp/picture.png")
        self.keep_picture(f"gnome-{self.version}-{name}")


class OnX(Desk):
    """On an X server; looked at as assistive technology does."""

    name: str

    def __init__(self, box: Container) -> None:
        super().__init__(box)
        self.start("x", "/usr/bin/Xvfb :7 -screen 0 1280x720x24 -nolisten tcp", "A=b")
        self.run("until [ -S /tmp/.X11-unix/X7 ]; do sleep 0.1; done")
        self.set_up()
        self.arrive()

    @abstractmethod
    def set_up(self) -> None:
        """What is there before the session has arrived."""

    def texts(self) -> list[str]:
        return self.read()

    def press(self, label: str) -> None:
        self._assist("press", label)

    def picture(self, name: str) -> None:
        time.sleep(1)
        self.run("DISPLAY=:7 scrot --overwrite /tmp/picture.png")
        self.keep_picture(f"{self.name}-{name}")


class Xfce(OnX):
    """With the notifications of Xfce and nothing else: they are started when there is one."""

    name = "xfce"

    def set_up(self) -> None:
        self.tell("DISPLAY=:7 XDG_CURRENT_DESKTOP=XFCE")


class Kde(OnX):
    """With KDE's Plasma: KWin in a window of the X server, and the panel, which notifies."""

    name = "kde"

    def set_up(self) -> None:
        self.start("kwin", _KWIN, f"DISPLAY=:7 {_KDE}")
        self.run(f"until [ -S /run/user/{UID}/wayland-0 ]; do sleep 0.1; done")
        environment = f"WAYLAND_DISPLAY=wayland-0 QT_QPA_PLATFORM=wayland {_KDE}"
        self.tell(environment)
        self.start("plasma", "/usr/bin/plasmashell --no-respawn", environment)
        notifies = "busctl --user status org.freedesktop.Notifications"
        self.run(f"until {notifies} >/dev/null 2>&1; do sleep 0.2; done")
        # What is shown goes by itself, and Qt begins to tell of it when it is first asked.
        self.until_text("plasmashell")
