# SPDX-License-Identifier: LGPL-2.1-or-later
"""What several pages are built of.

Markup is off everywhere: names and reasons come from processes of any user.
"""

from collections.abc import Callable, Iterable, Sequence

from .model import Row, Word
from .toolkit import Adw, Gtk, Widget, called

_SHOWN_LINES = 0
"""As many as it takes."""


def label(word: Word) -> Widget:
    """A word at the end of a row."""
    made = Gtk.Label(label=word.text, use_markup=False)
    made.add_css_class("caption-heading" if word.style != "dim-label" else "caption")
    if word.style:
        made.add_css_class(word.style)
    return made


def row(item: Row, *suffixes: Widget, selectable: bool = False) -> Widget:
    """One line of a list, with its words and then `suffixes` at its end."""
    made = Adw.ActionRow(use_markup=False, title=item.title, subtitle=item.subtitle)
    made.set_title_lines(_SHOWN_LINES)
    made.set_subtitle_lines(_SHOWN_LINES)
    made.set_subtitle_selectable(selectable)
    for word in item.words:
        made.add_suffix(label(word))
    for suffix in suffixes:
        made.add_suffix(suffix)
    return made


def pair(name: str, text: str) -> Widget:
    """A property: what it is called, and what it is."""
    made = Adw.ActionRow(use_markup=False, title=name, subtitle=text)
    made.set_subtitle_selectable(True)
    made.set_subtitle_lines(_SHOWN_LINES)
    made.add_css_class("property")
    return made


def sentence(text: str, icon: str, style: str = "") -> Widget:
    """A line that is a sentence of the daemon's."""
    made = Adw.ActionRow(use_markup=False, title=text)
    made.set_title_lines(_SHOWN_LINES)
    image = Gtk.Image(icon_name=icon, accessible_role=Gtk.AccessibleRole.PRESENTATION)
    if style:
        image.add_css_class(style)
    made.add_prefix(image)
    return made


def group(title: str, rows: Iterable[Widget], description: str = "") -> Widget:
    """Rows under a heading."""
    made = Adw.PreferencesGroup(title=title, description=description)
    for each in rows:
        made.add(each)
    return made


def folded(title: str, subtitle: str, rows: Iterable[Widget]) -> Widget:
    """Rows that show when somebody wants to see them."""
    made = Adw.ExpanderRow(use_markup=False, title=title, subtitle=subtitle)
    for each in rows:
        made.add_row(each)
    return made


def button(text: str, pressed: Callable[[], None], style: str = "", name: str = "") -> Widget:
    """With the text on it; `name` is for screen readers, where the text needs its row."""
    made = Gtk.Button(label=text, valign=Gtk.Align.CENTER, use_underline=True)
    made.connect("clicked", lambda _: pressed())
    if style:
        made.add_css_class(style)
    return called(made, name) if name else made


def buttons(made: Sequence[Widget]) -> Widget:
    """Side by side, below each other where there is no room."""
    box = Gtk.FlowBox(
        selection_mode=Gtk.SelectionMode.NONE,
        column_spacing=12,
        row_spacing=6,
        max_children_per_line=len(made),
        halign=Gtk.Align.CENTER,
    )
    for each in made:
        box.append(each)
        each.get_parent().set_focusable(False)
    return box


def page(title: str, tag: str, content: Widget) -> Widget:
    """What a place in the window shows, with a bar above."""
    view = Adw.ToolbarView(content=content)
    view.add_top_bar(Adw.HeaderBar())
    return Adw.NavigationPage(title=title, tag=tag, child=view)


def wide(parts: Iterable[Widget]) -> Widget:
    """Below each other: groups as narrow as in `Groups`, the rest as wide as there is room."""
    box = Gtk.Box(
        orientation=Gtk.Orientation.VERTICAL,
        spacing=24,
        margin_top=24,
        margin_bottom=24,
        margin_start=12,
        margin_end=12,
    )
    for part in parts:
        narrow = isinstance(part, Adw.PreferencesGroup)
        box.append(Adw.Clamp(child=part, maximum_size=600) if narrow else part)
    return Gtk.ScrolledWindow(child=box, hscrollbar_policy=Gtk.PolicyType.NEVER)


class Groups:
    """The groups of a page, made anew when what they show has changed, and only then."""

    def __init__(self) -> None:
        self.widget = Adw.PreferencesPage()
        self._groups: list[Widget] = []
        self._shown: object = None

    def show(self, what: object, make: Callable[[], Iterable[Widget]]) -> None:
        if what == self._shown:
            return
        self._shown = what
        for old in self._groups:
            self.widget.remove(old)
        self._groups = list(make())
        for new in self._groups:
            self.widget.add(new)
