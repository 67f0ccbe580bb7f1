# SPDX-License-Identifier: LGPL-2.1-or-later
"""Run in the container, in the user's session: what assistive technology reads, and does.

atspi.py texts | atspi.py press LABEL
"""

import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import gi

gi.require_version("Atspi", "2.0")
from gi.repository import Atspi, GLib  # noqa: E402


def below(node: Any) -> Iterator[Any]:
    with suppress(GLib.Error):  # it has just gone
        for number in range(node.get_child_count()):
            child = node.get_child_at_index(number)
            if child is not None:
                yield child
                yield from below(child)


def words(node: Any) -> str:
    with suppress(GLib.Error):
        text = node.get_text_iface()
        shown = Atspi.Text.get_text(text, 0, -1) if text else ""
        return str(shown or node.get_name() or "")
    return ""


def main() -> int:
    Atspi.init()
    found = list(below(Atspi.get_desktop(0)))
    if sys.argv[1] == "texts":
        print(json.dumps([said for node in found if (said := words(node))]))
        return 0
    # Of several with that label, Qt's Buttons among them, one is what is seen.
    actions = (node.get_action_iface() for node in found if words(node) == sys.argv[2])
    return not any(action and Atspi.Action.do_action(action, 0) for action in actions)


sys.exit(main())
