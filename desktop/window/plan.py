# SPDX-License-Identifier: LGPL-2.1-or-later
"""Before an update: one verdict a workload.  During it: how far it is."""

from collections.abc import Callable, Iterable

from . import model, widgets
from .i18n import _, ngettext
from .model import JobView, PlanView, Row, WorkloadRow
from .store import Store
from .toolkit import Adw, Gtk, Widget, called


class Plan:
    title = _("Update")
    icon = "software-update-available-symbolic"

    def __init__(self, store: Store) -> None:
        self._store = store
        self._progress = _Progress(store)
        self._groups = widgets.Groups()
        box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL)
        box.append(self._progress.widget)
        box.append(self._groups.widget)
        self._groups.widget.set_vexpand(True)
        self.page = widgets.page(self.title, "update", box)

    def show(self) -> None:
        store = self._store
        self._progress.show(model.job_view(store.job[1]) if store.job else None)
        view = model.plan_view(store.plan, store.accepted) if store.plan else None
        state = (view, store.planning, store.plan_problem, store.job is not None)
        self._groups.show(state, lambda: self._make(view))

    def _make(self, view: PlanView | None) -> Iterable[Widget]:
        store = self._store
        if store.planning and not view:
            yield widgets.group(
                "", [widgets.sentence(_("Looking at what runs here…"), "content-loading-symbolic")]
            )
        elif store.plan_problem:
            text = store.plan_problem.text
            yield widgets.group(
                _("There is no plan"), [widgets.sentence(text, "dialog-error-symbolic", "error")]
            )
        elif view:
            yield from self._plan(view)

    def _plan(self, view: PlanView) -> Iterable[Widget]:
        title = _("To Linux {release}").format(release=view.title) if view.title else self.title
        yield widgets.group(title, [widgets.pair(name, text) for name, text in view.facts])
        if view.blockers:
            yield widgets.group(
                _("What stands in the way"),
                [widgets.sentence(b, "dialog-warning-symbolic", "warning") for b in view.blockers],
            )
        orders = Adw.PreferencesGroup()
        orders.add(self._orders(view))
        yield orders
        for each in view.groups:
            yield widgets.group(each.title, map(self._row, each.rows), each.description)
        if view.candidates:
            yield widgets.group(
                _("Could be carried"),
                map(self._candidate, view.candidates),
                _("A rehearsal shows whether their memory survives."),
            )
        if count := len(view.ordinary):
            title = ngettext(
                "{count} service that comes with the boot",
                "{count} services that come with the boot",
                count,
            ).format(count=count)
            rows = map(widgets.row, view.ordinary)
            yield widgets.group("", [widgets.folded(title, _("Restarted; memory is lost"), rows)])

    def _orders(self, view: PlanView) -> Widget:
        store = self._store
        start = widgets.button(_("_Update…"), lambda: self._ask(view), "suggested-action")
        rehearse = widgets.button(_("_Rehearse"), lambda: store.order("Rehearse"))
        back = widgets.button(_("_Go Back…"), self._ask_back)
        start.set_sensitive(not (view.blockers or store.job or store.planning))
        for each in (rehearse, back):
            each.set_sensitive(not store.job)
        for each in (start, rehearse, back):
            each.add_css_class("pill")
        return widgets.buttons([start, rehearse, back])

    def _row(self, row: WorkloadRow) -> Widget:
        if not row.agreeable:
            return widgets.row(row)
        agree = Gtk.CheckButton(
            active=row.agreed, valign=Gtk.Align.CENTER, tooltip_text=_("Agree to the loss")
        )
        called(agree, _("Agree to the loss of {name}").format(name=row.title))
        agree.connect("toggled", lambda box: self._store.accept(row.id, box.get_active()))
        return widgets.row(row, agree)

    def _candidate(self, row: Row) -> Widget:
        carry = widgets.button(
            _("_Carry"),
            lambda: self._store.order("Carry", row.id),
            name=_("Carry {name}").format(name=row.title),
        )
        carry.set_sensitive(not self._store.job)
        return widgets.row(row, carry)

    def _ask(self, view: PlanView) -> None:
        heading = _("Move to Linux {release}?").format(release=view.title)
        self._dialog(heading, view.question, _("_Update Now"), self._store.update)

    def _ask_back(self) -> None:
        self._dialog(
            _("Go back to the kernel before?"),
            _("Programs stand still for a while; what is carried comes along."),
            _("_Go Back"),
            lambda: self._store.order("Rollback"),
        )

    def _dialog(self, heading: str, body: str, yes: str, do: Callable[[], None]) -> None:
        dialog = Adw.AlertDialog(heading=heading, body=body)
        dialog.add_response("cancel", _("_Cancel"))
        dialog.add_response("do", yes)
        dialog.set_response_appearance("do", Adw.ResponseAppearance.SUGGESTED)
        dialog.set_close_response("cancel")
        dialog.connect("response", lambda _, answer: do() if answer == "do" else None)
        dialog.present(self.page)


class _Progress:
    """The job under way.  Changed in place: it moves while somebody reads or tabs."""

    def __init__(self, store: Store) -> None:
        self._title = Gtk.Label(xalign=0, css_classes=["heading"])
        self._step = Gtk.Label(xalign=0, wrap=True, css_classes=["dim-label"])
        self._bar = Gtk.ProgressBar(hexpand=True, valign=Gtk.Align.CENTER)
        self._cancel = widgets.button(_("_Cancel"), store.cancel)
        line = Gtk.Box(spacing=12)
        line.append(self._bar)
        line.append(self._cancel)
        box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=6)
        for each in (self._title, self._step, line):
            box.append(each)
        card = Adw.Bin(child=box, css_classes=["card"])
        for side in ("top", "bottom", "start", "end"):
            box.set_property(f"margin-{side}", 12)
            card.set_property(f"margin-{side}", 12)
        self.widget = Gtk.Revealer(child=Adw.Clamp(child=card), visible=False)

    def show(self, view: JobView | None) -> None:
        # Both: what is not revealed can have the focus all the same.
        self.widget.set_visible(view is not None)
        self.widget.set_reveal_child(view is not None)
        if view is None:
            return
        self._title.set_label(view.title)
        self._step.set_label(view.step)
        self._bar.set_fraction(view.progress)
        called(self._bar, view.step or view.title)
        self._cancel.set_sensitive(view.cancellable)
