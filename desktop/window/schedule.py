# SPDX-License-Identifier: LGPL-2.1-or-later
"""When the host updates by itself."""

from liveupdated.ctl.shaping import Properties

from . import model, reopening, widgets
from .i18n import _
from .store import Store
from .toolkit import Adw, Gtk, Widget


class Schedule:
    title = _("Schedule")
    icon = "alarm-symbolic"

    def __init__(self, store: Store) -> None:
        self._store = store
        self._next = widgets.pair(_("Next update"), "")
        self._end = widgets.button(_("_Remove"), lambda: store.order("Unschedule"))
        self._next.add_suffix(self._end)
        self._entry = Adw.EntryRow(title=_("Calendar expression"), show_apply_button=True)
        self._entry.connect("apply", lambda row: self._set(row.get_text()))
        view = Adw.PreferencesPage()
        view.add(widgets.group("", [self._next], _("Updates happen by themselves at these times.")))
        presets = [self._preset(words, calendar) for words, calendar in model.presets()]
        view.add(widgets.group(_("Often wanted"), presets))
        view.add(
            widgets.group(
                _("Another time"), [self._entry], _("As in systemd.time(7): Mon..Fri 02:30")
            )
        )
        view.add(reopening.group())
        self.page = widgets.page(self.title, "schedule", view)

    def show(self) -> None:
        manager: Properties | None = self._store.manager
        when = model.next_update(manager) if manager else ""
        self._next.set_subtitle(when or _("None is scheduled"))
        self._end.set_sensitive(bool(when))

    def _preset(self, words: str, calendar: str) -> Widget:
        row = Adw.ActionRow(use_markup=False, title=words, subtitle=calendar, activatable=True)
        row.add_suffix(
            Gtk.Image(
                icon_name="list-add-symbolic", accessible_role=Gtk.AccessibleRole.PRESENTATION
            )
        )
        row.connect("activated", lambda _: self._set(calendar))
        return row

    def _set(self, calendar: str) -> None:
        self._store.order("Schedule", calendar)
