# SPDX-License-Identifier: LGPL-2.1-or-later
"""The window as it is installed: activated over D-Bus, read as a screen reader does, in German."""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gi
import pytest

from desktop.window.toolkit import Gio, GLib, Gtk
from tests.bus.private_bus import private_bus
from tests.desktop.window import STAND_IN

gi.require_version("Atspi", "2.0")

from gi.repository import Atspi  # noqa: E402

TREE = Path(__file__).parents[2]
WINDOW = TREE / "desktop/window"
APP_ID = "org.liveupdate1.Window"
DISPLAY = ("DISPLAY", "XAUTHORITY", "GDK_BACKEND", "GSK_RENDERER")
_LIMIT_S = 60


@pytest.fixture(scope="module")
def installed() -> None:
    """As the packages do it; the daemon's Python package is this tree's."""
    subprocess.run([str(TREE / "packaging/install-window")], check=True)
    Path("/usr/lib/python3/dist-packages/tree.pth").write_text(f"{TREE}\n")


@pytest.fixture
def desktop(installed: None) -> Iterator[Any]:
    """The accessible objects of all applications, with a German window among them."""
    with private_bus() as bus:
        host = subprocess.Popen(STAND_IN, env=bus.environment())
        try:
            told = {"DBUS_SYSTEM_BUS_ADDRESS": bus.address, "LANGUAGE": "de", "PYTHONPATH": ""}
            told |= {name: os.environ[name] for name in DISPLAY}
            words = [f"{name}={value}" for name, value in told.items()]
            subprocess.run(["dbus-update-activation-environment", *words], check=True)
            Atspi.init()
            call("Activate", GLib.Variant("(a{sv})", ({},)))
            yield Atspi.get_desktop(0)
            call("ActivateAction", GLib.Variant("(sava{sv})", ("quit", [], {})))
        finally:
            host.terminate()
            host.wait(20)


def call(member: str, arguments: Any) -> None:
    """A method of org.freedesktop.Application, as a desktop calls it."""
    path = "/" + APP_ID.replace(".", "/")
    Gio.bus_get_sync(Gio.BusType.SESSION).call_sync(
        APP_ID,
        path,
        "org.freedesktop.Application",
        member,
        arguments,
        None,
        Gio.DBusCallFlags.NONE,
        -1,
        None,
    )


def below(accessible: Any) -> Iterator[Any]:
    """All that is shown below it."""
    for number in range(accessible.get_child_count()):
        child = accessible.get_child_at_index(number)
        if child is not None:
            yield child
            yield from below(child)


def names(desktop: Any, role: Any = None) -> list[str]:
    desktop.clear_cache()
    try:
        return [a.get_name() for a in below(desktop) if role in (None, a.get_role())]
    except GLib.Error:  # gone while it was looked at
        return []


def until_named(desktop: Any, name: str) -> None:
    end = time.monotonic() + _LIMIT_S
    while name not in (found := names(desktop)):
        assert time.monotonic() < end, f"{name!r} is not among {found}"
        time.sleep(0.2)


def test_a_screen_reader_finds_the_verdicts_in_german(desktop: Any) -> None:
    until_named(desktop, "Live-Aktualisierung")
    until_named(desktop, "Auf Linux 7.3.4+deb13-amd64")
    assert {"Zeitplan", "Verlauf", "Kernel", "Übernommen", "Verloren"} <= set(names(desktop))
    boxes = names(desktop, Atspi.Role.CHECK_BOX)
    assert "Dem Verlust von alice: tmux zustimmen" in boxes
    assert all(names(desktop, Atspi.Role.CHECK_BOX))


def test_the_german_translation_is_complete(tmp_path: Path) -> None:
    """And there is no word in the code that it does not have."""
    (tmp_path / "po").mkdir()
    for file in [*WINDOW.glob("*.py"), *WINDOW.glob("po/*")]:
        target = tmp_path / file.relative_to(WINDOW)
        target.write_bytes(file.read_bytes())
        target.chmod(file.stat().st_mode)
    subprocess.run([str(tmp_path / "po/update")], check=True)
    command = ["msgfmt", "--check-format", "--statistics", "-o", "/dev/null", "po/de.po"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"\d+ translated messages\.\n", done.stderr), done.stderr
    assert (tmp_path / "po/de.po").read_text() == (WINDOW / "po/de.po").read_text()


def test_the_metadata_is_valid() -> None:
    for command in (
        ["desktop-file-validate", str(WINDOW / f"data/{APP_ID}.desktop")],
        # There is no home page yet.
        [
            *("appstreamcli", "validate", "--no-net", "--override=url-homepage-missing=info"),
            str(WINDOW / f"data/{APP_ID}.metainfo.xml"),
        ],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_icon_is_found_and_drawn(installed: None) -> None:
    theme = Gtk.IconTheme(theme_name="Adwaita")
    theme.set_search_path(["/usr/share/icons"])
    assert theme.has_icon(APP_ID)
    assert theme.has_icon(f"{APP_ID}-symbolic")
