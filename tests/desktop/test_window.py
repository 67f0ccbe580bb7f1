# SPDX-License-Identifier: LGPL-2.1-or-later
"""The window on a display, with the daemon's real face on a bus: what is seen, and what it does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from desktop.window.toolkit import Adw, Gdk, Gtk
from liveupdated.users import wishes
from tests.desktop.window import Seen, named, seen

BACKUP, TMUX = "services:backup.service", "services:alice: tmux"


@pytest.fixture
def shown() -> Iterator[Seen]:
    with seen() as window:
        yield window


def agree(shown: Seen) -> None:
    """To both losses, by the boxes in their rows."""
    for name in ("backup.service", "alice: tmux"):
        box = next(box for box in boxes(shown) if name in row_of(box).get_title())
        box.set_active(True)
        shown.until(lambda: not shown.window.store.planning)


def boxes(shown: Seen) -> list[Any]:
    return [widget for widget in shown.widgets() if isinstance(widget, Gtk.CheckButton)]


def row_of(widget: Any) -> Any:
    return widget.get_ancestor(Adw.PreferencesRow)


def test_from_the_verdicts_over_the_progress_to_the_timeline(shown: Seen) -> None:
    shown.until_text("To Linux 7.3.4+deb13-amd64")
    assert "A run is half done <b>and cannot be repeated</b>" in shown.texts()
    assert not shown.button("Update…").get_sensitive()
    agree(shown)
    assert shown.window.store.accepted == {BACKUP, TMUX}
    shown.press("Update…")
    shown.until_text("Programs stand still for about")
    shown.press("Update Now")
    shown.until_text("saving redis-server.service")
    assert not shown.button("Update…").get_sensitive()
    shown.finish()
    shown.until_text("Carried: 6, Restarted: 4")
    [picture] = [widget for widget in shown.widgets() if isinstance(widget, Gtk.Picture)]
    shown.settle()
    assert picture.get_paintable().get_intrinsic_width() == picture.get_width() > 600


def test_a_job_can_be_cancelled(shown: Seen) -> None:
    shown.press("Rehearse")
    shown.until_text("working on the rehearse")
    shown.press("Cancel")
    shown.until(lambda: shown.window.store.job is None)
    shown.until(lambda: "working on the rehearse" not in shown.texts())


def test_a_kernel_is_loaded_blocked_and_allowed(shown: Seen) -> None:
    shown.window.go("kernels")
    shown.until_text("7.3.4+deb13-amd64")
    unfold(shown, "7.3.4+deb13-amd64")
    shown.press("Load")
    shown.until(lambda: shown.window.store.job)
    shown.finish()
    shown.until(lambda: shown.window.store.job is None)
    unfold(shown, "7.3.4+deb13-amd64")
    shown.press("Block")
    shown.until_text("Blocked")
    unfold(shown, "7.3.4+deb13-amd64")
    shown.press("Allow")
    shown.until(lambda: "Blocked" not in shown.texts())


def unfold(shown: Seen, title: str) -> None:
    for widget in shown.widgets():
        if isinstance(widget, Adw.ExpanderRow) and widget.get_title() == title:
            widget.set_expanded(True)
    shown.settle()


def entry_row(shown: Seen, title: str) -> Any:
    [found] = [
        widget
        for widget in shown.widgets()
        if isinstance(widget, Adw.EntryRow) and widget.get_title() == title
    ]
    return found


def test_what_is_opened_again_is_the_users_to_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with seen() as shown:
        shown.window.go("schedule")
        entry = entry_row(shown, "But not these")
        entry.set_text("org.x.*, org.gnome.Calculator")
        entry.emit("apply")
        [switch] = [row for row in shown.widgets() if isinstance(row, Adw.SwitchRow)]
        assert switch.get_active() and entry.get_sensitive()
        switch.set_active(False)
        assert not entry.get_sensitive()
    wished = wishes.read({"XDG_CONFIG_HOME": str(tmp_path)})
    assert wished == wishes.Wishes(False, ("org.x.*", "org.gnome.Calculator"))


def test_a_schedule_is_set_refused_and_removed(shown: Seen) -> None:
    shown.window.go("schedule")
    shown.until_text("None is scheduled")
    [row] = [row for row in shown.widgets() if getattr(row, "get_subtitle", str)() == "*-*-* 03:00"]
    row.emit("activated")
    shown.until(lambda: "None is scheduled" not in shown.texts())
    entry = entry_row(shown, "Calendar expression")
    entry.set_text("whenever")
    entry.emit("apply")
    shown.until_text("whenever is no calendar expression")
    shown.press("Close")
    shown.press("Remove")
    shown.until_text("None is scheduled")


def test_history_opens_a_session(shown: Seen) -> None:
    shown.window.go("history")
    shown.until_text("Degraded")
    [row] = [w for w in shown.widgets() if isinstance(w, Adw.ActionRow) and w.get_activatable()]
    row.emit("activated")
    shown.until_text("The timeline as text")


def test_the_daemon_that_goes_is_told_and_one_that_comes_is_seen(shown: Seen) -> None:
    shown.stop()
    shown.window.refresh()
    shown.until(lambda: shown.window.store.problem)
    shown.until_text("Try Again")
    shown.start()
    shown.press("Try Again")
    shown.until(lambda: shown.window.store.problem is None)


def test_narrow_it_shows_one_thing_at_a_time_and_nothing_is_cut_off() -> None:
    with seen(width=360, height=640) as shown:
        shown.settle()
        assert shown.window.widget.get_width() <= 360
        assert "Kernels" not in shown.texts()
        for place in ("kernels", "history", "schedule", "update"):
            shown.window.go(place)
            shown.settle()
            assert all(w.get_width() <= 360 for w in shown.widgets())


def test_whatever_can_be_used_can_be_reached_by_keyboard_and_has_a_name(shown: Seen) -> None:
    for place in ("update", "kernels", "history", "schedule"):
        shown.window.go(place)
        shown.settle()
        for widget in shown.widgets():
            if isinstance(widget.get_parent(), Gtk.MenuButton):
                continue  # a part of it
            if isinstance(widget, Gtk.Button | Gtk.CheckButton | Gtk.MenuButton):
                assert named(widget), f"a {widget} in {place} has no name"
                assert widget.get_focusable() or isinstance(widget, Gtk.MenuButton), widget


def paper(shown: Seen) -> tuple[int, ...]:
    """The colour of the timeline's paper."""
    shown.window.go("history")
    shown.until_text("Degraded")
    [row] = [w for w in shown.widgets() if isinstance(w, Adw.ActionRow) and w.get_activatable()]
    row.emit("activated")
    shown.until_text("The timeline as text")
    [picture] = [widget for widget in shown.widgets() if isinstance(widget, Gtk.Picture)]
    loaded = Gdk.TextureDownloader.new(picture.get_paintable())
    loaded.set_format(Gdk.MemoryFormat.R8G8B8)
    pixels, stride = loaded.download_bytes()
    inside = 5 * stride + 5 * 3  # its outermost pixels are blended
    return tuple(pixels.get_data()[inside : inside + 3])


def test_the_timeline_is_dark_where_the_desktop_is() -> None:
    with seen() as shown:
        assert paper(shown) == (0xFF, 0xFF, 0xFF)
        Adw.StyleManager.get_default().set_color_scheme(Adw.ColorScheme.FORCE_DARK)
        assert paper(shown) == (0x0D, 0x11, 0x17)
