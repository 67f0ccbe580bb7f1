# SPDX-License-Identifier: LGPL-2.1-or-later
"""What its user wants to be opened again after an update (`liveupdated.users.wishes`)."""

import os
import re
from dataclasses import replace

from liveupdated.users import wishes

from . import widgets
from .i18n import _
from .toolkit import Adw, Widget


def group() -> Widget:
    """The settings, written as they are changed."""
    found = wishes.read(os.environ)
    wanted = Adw.SwitchRow(title=_("Open applications again"), active=found.reopen)
    wanted.connect("notify::active", _wanted)
    others = Adw.EntryRow(title=_("But not these"), show_apply_button=True)
    others.set_text(", ".join(found.exclude))
    others.connect("apply", _excluded)
    others.set_sensitive(found.reopen)
    wanted.bind_property("active", others, "sensitive")
    description = _("They begin empty: what is not saved in them is lost with the update.")
    return widgets.group(_("After an update"), [wanted, others], found.problem or description)


def _wanted(row: Widget, _changed: object) -> None:
    wishes.write(os.environ, replace(wishes.read(os.environ), reopen=row.get_active()))


def _excluded(row: Widget) -> None:
    words = tuple(word for word in re.split(r"[,\s]+", row.get_text()) if word)
    wishes.write(os.environ, replace(wishes.read(os.environ), exclude=words))
