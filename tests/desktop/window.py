# SPDX-License-Identifier: LGPL-2.1-or-later
"""The window in this process, on a display and a bus of its own, and what can be seen of it."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from desktop.window.daemon import Daemon
from desktop.window.toolkit import Adw, Gio, GLib, Gtk
from desktop.window.window import Window
from liveupdated import contract
from tests.bus.private_bus import private_bus

_LIMIT_S = 60
STAND_IN = [sys.executable, "-m", "tests.desktop.stand_in"]


class Seen:
    """A window and the daemon that it shows."""

    def __init__(self, address: str, environment: dict[str, str]) -> None:
        flags = Gio.DBusConnectionFlags
        self._environment = environment
        self._bus = Gio.DBusConnection.new_for_address_sync(
            address, flags.AUTHENTICATION_CLIENT | flags.MESSAGE_BUS_CONNECTION, None, None
        )
        self.start()
        self.window = Window(None, Daemon(self._bus))

    def start(self) -> None:
        """Start the daemon."""
        self.host = subprocess.Popen(STAND_IN, env=self._environment)
        self.until(self._owned, "the daemon")

    def stop(self) -> None:
        """Stop the daemon."""
        self.host.terminate()
        self.host.wait(20)

    def close(self) -> None:
        self.window.widget.destroy()
        self.stop()
        self._bus.close_sync(None)

    def _owned(self) -> bool:
        arguments = GLib.Variant("(s)", (contract.NAME,))
        where = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
        answer = self._bus.call_sync(
            *where, "NameHasOwner", arguments, None, Gio.DBusCallFlags.NONE, -1, None
        )
        return bool(answer.unpack()[0])

    def until(self, condition: Callable[[], object], what: str = "") -> None:
        """Let the window live until `condition` holds."""
        context = GLib.MainContext.default()
        end = time.monotonic() + _LIMIT_S
        while not condition():
            assert time.monotonic() < end, f"{what or condition} did not come; {self.texts()}"
            if not context.iteration(False):
                time.sleep(0.01)

    def until_text(self, text: str) -> None:
        """Until somewhere in the window stands `text`."""
        self.until(lambda: any(text in seen for seen in self.texts()), repr(text))

    def widgets(self) -> Iterator[Any]:
        """All that are shown, dialogs included."""
        yield from _below(self.window.widget)

    def texts(self) -> list[str]:
        """All that can be read."""
        return [w.get_label() for w in self.widgets() if isinstance(w, Gtk.Label)]

    def button(self, text: str) -> Any:
        """The one that says `text`."""
        fits = [
            widget
            for widget in self.widgets()
            if isinstance(widget, Gtk.Button)
            and (widget.get_label() or "").replace("_", "") == text
        ]
        assert fits, f"there is no button {text}: {self.texts()}"
        return fits[0]

    def press(self, text: str) -> None:
        button = self.button(text)
        assert button.get_sensitive(), f"{text} cannot be pressed"
        button.emit("clicked")

    def picture(self, path: Path) -> None:
        """What it looks like, as PNG."""
        self.settle()
        widget = self.window.widget
        snapshot = Gtk.Snapshot()
        Gtk.WidgetPaintable(widget=widget).snapshot(
            snapshot, widget.get_width(), widget.get_height()
        )
        texture = widget.get_renderer().render_texture(snapshot.to_node(), None)
        texture.save_to_png(str(path))

    def settle(self) -> None:
        """Until animations are over."""
        end = time.monotonic() + 0.6
        self.until(lambda: time.monotonic() > end)

    def finish(self) -> None:
        """The job under way ends."""
        self.host.send_signal(signal.SIGUSR1)


def _below(widget: Any) -> Iterator[Any]:
    child = widget.get_first_child()
    while child:
        if child.get_mapped():
            yield child
            yield from _below(child)
        child = child.get_next_sibling()


def named(widget: Any) -> bool:
    """Whether a screen reader has something to say about it."""
    label = getattr(widget, "get_label", lambda: "")()
    made = Gtk.test_accessible_has_property(widget, Gtk.AccessibleProperty.LABEL)
    return bool(label or widget.get_tooltip_text() or made)


@contextlib.contextmanager
def seen(width: int = 1180, height: int = 720, dark: bool = False) -> Iterator[Seen]:
    """The window, opened."""
    Adw.init()
    scheme = Adw.ColorScheme.FORCE_DARK if dark else Adw.ColorScheme.FORCE_LIGHT
    Adw.StyleManager.get_default().set_color_scheme(scheme)
    with private_bus() as bus:
        found = Seen(bus.address, bus.environment())
        try:
            found.window.widget.set_default_size(width, height)
            found.window.widget.present()
            found.until(lambda: found.window.store.plan, "the plan")
            yield found
        finally:
            found.close()
