# SPDX-License-Identifier: LGPL-2.1-or-later
"""The window: places at the left, what they show at the right; one at a time where it is narrow."""

from typing import Any, Protocol

from liveupdated.ctl.shapes import SessionDetail, Timeline

from . import session
from .daemon import Daemon, Problem
from .history import History
from .i18n import _
from .kernels import Kernels
from .plan import Plan
from .schedule import Schedule
from .store import Store
from .toolkit import Adw, Gio, Gtk, Widget

_NARROW = "max-width: 620sp"
_NOT_AUTHORIZED = "org.liveupdate1.Error.NotAuthorized"


class _Place(Protocol):
    title: str
    icon: str
    page: Widget

    def show(self) -> None: ...


class Window:
    """Everything that is shown, and the store that it shows."""

    def __init__(self, application: Any, daemon: Daemon) -> None:
        self.store = Store(daemon, self._changed)
        self.store.failed = self._failed
        self.store.finished = self._open
        plan = Plan(self.store)
        kernels = Kernels(self.store, lambda: self.go("update"))
        self._places: dict[str, _Place] = {
            "update": plan,
            "kernels": kernels,
            "history": History(self.store, self._open),
            "schedule": Schedule(self.store),
        }
        self._content = Adw.NavigationView()
        self._list = self._make_list()
        self._split = Adw.NavigationSplitView(
            sidebar=self._sidebar(),
            content=Adw.NavigationPage(title=plan.title, child=self._content),
            min_sidebar_width=170,
        )
        self._unknown = Adw.Banner(button_label=_("_Try Again"), use_markup=False)
        self._unknown.connect("button-clicked", lambda _: self.refresh())
        framed = Adw.ToolbarView(content=self._split)
        framed.add_top_bar(self._unknown)
        self._toasts = Adw.ToastOverlay(child=framed)
        self.widget = Adw.ApplicationWindow(
            application=application,
            title=_("Live Update"),
            content=self._toasts,
            default_width=1180,
            default_height=720,
            width_request=320,
            height_request=300,
        )
        narrow = Adw.Breakpoint(condition=Adw.BreakpointCondition.parse(_NARROW))
        narrow.add_setter(self._split, "collapsed", True)
        self.widget.add_breakpoint(narrow)
        self.go("update")
        self.store.refresh()
        self.store.replan()

    def go(self, place: str) -> None:
        """Show that place."""
        self._list.select_row(self._list.get_row_at_index(list(self._places).index(place)))
        self._show(place)

    def refresh(self) -> None:
        """Look at everything anew."""
        self.store.refresh()
        self.store.replan()

    def _show(self, name: str) -> None:
        place = self._places[name]
        self._content.replace([place.page])
        self._split.get_content().set_title(place.title)
        self._split.set_show_content(True)

    def _make_list(self) -> Widget:
        made = Gtk.ListBox(css_classes=["navigation-sidebar"])
        for place in self._places.values():
            box = Gtk.Box(spacing=12)
            box.append(
                Gtk.Image(icon_name=place.icon, accessible_role=Gtk.AccessibleRole.PRESENTATION)
            )
            box.append(Gtk.Label(label=place.title, xalign=0))
            made.append(Gtk.ListBoxRow(child=box))
        names = list(self._places)
        made.connect("row-activated", lambda _, row: self._show(names[row.get_index()]))
        return made

    def _sidebar(self) -> Widget:
        menu = Gio.Menu()
        menu.append(_("_Refresh"), "app.refresh")
        menu.append(_("_About Live Update"), "app.about")
        bar = Adw.HeaderBar()
        bar.pack_end(
            Gtk.MenuButton(
                icon_name="open-menu-symbolic",
                menu_model=menu,
                primary=True,
                tooltip_text=_("Main Menu"),
            )
        )
        view = Adw.ToolbarView(content=Gtk.ScrolledWindow(child=self._list))
        view.add_top_bar(bar)
        return Adw.NavigationPage(title=_("Live Update"), tag="places", child=view)

    def _changed(self) -> None:
        for place in self._places.values():
            place.show()
        problem = self.store.problem
        self._unknown.set_title(problem.text if problem else "")
        self._unknown.set_revealed(problem is not None)

    def _open(self, path: str) -> None:
        """Show the session's page on top of the history."""

        def got(detail: SessionDetail, timeline: Timeline) -> None:
            self.go("history")
            self._content.push(session.page(detail, timeline))

        self.store.record(path, got)

    def _failed(self, problem: Problem) -> None:
        if problem.name == _NOT_AUTHORIZED:
            self._toasts.add_toast(Adw.Toast(title=_("Not authorized"), use_markup=False))
            return
        dialog = Adw.AlertDialog(heading=_("That did not work"), body=problem.text)
        dialog.add_response("close", _("_Close"))
        dialog.present(self.widget)
