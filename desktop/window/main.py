# SPDX-License-Identifier: LGPL-2.1-or-later
"""The application: org.liveupdate1.Window, started by the desktop or by D-Bus activation."""

import locale
import sys
from typing import Any

from liveupdated import __version__

from .daemon import Daemon
from .i18n import _
from .toolkit import Adw, Gio, GLib
from .window import Window

APP_ID = "org.liveupdate1.Window"
_PLACES = ("update", "kernels", "history", "schedule")


class Application:
    """One window, however often it is asked for."""

    def __init__(self) -> None:
        self.window: Window | None = None
        self.gtk = Adw.Application(application_id=APP_ID)
        self.gtk.connect("activate", lambda _: self.show())
        self._action("refresh", lambda: self.window and self.window.refresh(), "F5", "<Ctrl>r")
        self._action("about", self._about, "F1")
        self._action("quit", self.gtk.quit, "<Ctrl>q")
        for number, place in enumerate(_PLACES, start=1):
            self._action(f"show-{place}", lambda place=place: self.show(place), f"<Alt>{number}")

    def show(self, place: str = "") -> None:
        """Bring the window to the front, at `place`."""
        if self.window is None:
            self.window = Window(self.gtk, Daemon(Gio.bus_get_sync(Gio.BusType.SYSTEM)))
            self.window.widget.connect("close-request", self._closed)
        if place:
            self.window.go(place)
        self.window.widget.present()

    def _closed(self, _: Any) -> bool:
        self.window = None
        return False

    def _action(self, name: str, do: Any, *keys: str) -> None:
        action = Gio.SimpleAction(name=name)
        action.connect("activate", lambda *_: do())
        self.gtk.add_action(action)
        self.gtk.set_accels_for_action(f"app.{name}", keys)

    def _about(self) -> None:
        about = Adw.AboutDialog(
            application_name=_("Live Update"),
            application_icon=APP_ID,
            version=__version__,
            comments=_("Change the kernel under a running computer and keep what runs on it"),
        )
        if self.window:
            about.present(self.window.widget)


def main() -> int:
    """Run until the window is closed."""
    try:
        locale.setlocale(locale.LC_ALL, "")
    except locale.Error as error:
        print(f"the locale cannot be used: {error}", file=sys.stderr)
    GLib.set_prgname(APP_ID)
    return int(Application().gtk.run(sys.argv))


if __name__ == "__main__":
    sys.exit(main())
