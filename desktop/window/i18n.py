# SPDX-License-Identifier: LGPL-2.1-or-later
"""Words in the language of whoever looks; without a translation they are English."""

import gettext
import locale

from liveupdated.ctl import units

DOMAIN = "liveupdated-window"

_translation = gettext.translation(DOMAIN, fallback=True)
_ = _translation.gettext
ngettext = _translation.ngettext


def N_(text: str) -> str:
    """Marks `text` for translation where it is not shown yet."""
    return text


def duration(us: int) -> str:
    """As `units.duration`, with the decimal point of the locale."""
    return units.duration(us).replace(".", str(locale.localeconv()["decimal_point"]))


def size(count: int) -> str:
    """As `units.size`, with the decimal point of the locale."""
    return units.size(count).replace(".", str(locale.localeconv()["decimal_point"]))
