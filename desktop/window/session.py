# SPDX-License-Identifier: LGPL-2.1-or-later
"""After an update: where the time went, and what became of each workload."""

from collections.abc import Iterable

from liveupdated.ctl.shapes import SessionDetail, Timeline

from . import model, picture, widgets
from .i18n import _
from .model import SessionView
from .toolkit import Widget


def page(session: SessionDetail, timeline: Timeline) -> Widget:
    """The page of one session."""
    view = model.session_view(session, timeline)
    drawn = picture.timeline(session, timeline)
    return widgets.page(view.title, "session", widgets.wide(_make(view, drawn)))


def _make(view: SessionView, drawn: Widget) -> Iterable[Widget]:
    facts = [widgets.pair(name, text) for name, text in view.facts]
    result = widgets.pair(_("Result"), view.reason or view.state.text)
    if view.reason:
        result.add_suffix(widgets.label(view.state))
    yield widgets.group("", [result, *facts])
    yield drawn
    if view.notes:
        yield widgets.group(
            _("Notes"), [widgets.sentence(n, "dialog-information-symbolic") for n in view.notes]
        )
    if view.workloads:
        yield widgets.group(_("Workloads"), map(widgets.row, view.workloads))
    if view.phases:
        rows = map(widgets.row, view.phases)
        yield widgets.group("", [widgets.folded(_("Phases"), _("The timeline as text"), rows)])
