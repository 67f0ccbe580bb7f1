# SPDX-License-Identifier: LGPL-2.1-or-later
"""The timeline of one session: liveupdatectl's picture, in the window."""

from xml.etree.ElementTree import Element

from liveupdated.ctl.plot import svg, update
from liveupdated.ctl.shapes import SessionDetail, Timeline

from .i18n import _
from .toolkit import Adw, Gdk, GLib, Gtk, Widget, called, described


def timeline(session: SessionDetail, shape: Timeline) -> Widget:
    """As large as it was drawn, to be scrolled where there is no room."""
    drawn = update.draw(session, shape)
    width, height = (round(float(drawn.get(side, "0"))) for side in ("width", "height"))
    picture = Gtk.Picture(
        content_fit=Gtk.ContentFit.FILL,
        width_request=width,
        height_request=height,
        halign=Gtk.Align.CENTER,
    )
    called(picture, _("Timeline"))
    described(picture, ". ".join(update.headlines(session, shape)))
    manager = Adw.StyleManager.get_default()

    def paint(*__: object) -> None:
        picture.set_paintable(_texture(drawn, manager.get_dark(), picture.get_scale_factor()))

    handler = manager.connect("notify::dark", paint)
    picture.connect("notify::scale-factor", paint)
    picture.connect("destroy", lambda *_: manager.disconnect(handler))
    paint()
    return Gtk.ScrolledWindow(
        child=picture, vscrollbar_policy=Gtk.PolicyType.NEVER, propagate_natural_height=True
    )


def _texture(drawn: Element, dark: bool, scale: int) -> Widget:
    """Drawn with as many pixels as the screen has."""
    shown = svg.toned(drawn, dark)
    for side in ("width", "height"):
        shown.set(side, svg.number(float(drawn.get(side, "0")) * scale))
    return Gdk.Texture.new_from_bytes(GLib.Bytes.new(svg.document(shown).encode()))
