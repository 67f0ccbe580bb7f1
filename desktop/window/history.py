# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every update there was; each opens what became of it."""

from collections.abc import Callable, Iterable

from . import model, widgets
from .i18n import _
from .model import Row
from .store import Store
from .toolkit import Gtk, Widget


class History:
    title = _("History")
    icon = "document-open-recent-symbolic"

    def __init__(self, store: Store, opened: Callable[[str], None]) -> None:
        """`opened` is called with the object of the session that is to be shown."""
        self._store = store
        self._opened = opened
        self._groups = widgets.Groups()
        self.page = widgets.page(self.title, "history", self._groups.widget)

    def show(self) -> None:
        rows = model.session_rows(self._store.sessions)
        self._groups.show(rows, lambda: self._make(rows))

    def _make(self, rows: tuple[Row, ...]) -> Iterable[Widget]:
        text = "" if rows else _("There was no update yet.")
        yield widgets.group("", [self._row(row) for row in rows], text)

    def _row(self, row: Row) -> Widget:
        arrow = Gtk.Image(
            icon_name="go-next-symbolic", accessible_role=Gtk.AccessibleRole.PRESENTATION
        )
        made = widgets.row(row, arrow)
        made.set_activatable(True)
        made.connect("activated", lambda _: self._opened(self._store.paths[row.id]))
        return made
