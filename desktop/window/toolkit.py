# SPDX-License-Identifier: LGPL-2.1-or-later
"""The one place that imports PyGObject: versions are asked for here, and types end here.

libadwaita 1.5 (Debian 13, Ubuntu 24.04) is the oldest that has all that is used.
"""

from typing import Any

import gi

gi.require_version("Adw", "1")
gi.require_version("Gdk", "4.0")
gi.require_version("Gtk", "4.0")

from gi.repository import Adw, Gdk, Gio, GLib, Gtk  # noqa: E402

__all__ = ["Adw", "GLib", "Gdk", "Gio", "Gtk", "Widget", "called", "described"]

Widget = Any
"""A Gtk.Widget."""


def called(widget: Widget, name: str) -> Widget:
    """Give it a name for screen readers, where nothing that is seen is one."""
    widget.update_property([Gtk.AccessibleProperty.LABEL], [name])
    return widget


def described(widget: Widget, text: str) -> Widget:
    """Tell screen readers what a picture shows."""
    widget.update_property([Gtk.AccessibleProperty.DESCRIPTION], [text])
    return widget
