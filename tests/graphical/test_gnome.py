# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tile and notifications in GNOME Shell.  The tests tell one story, from before an update on."""

import time

from tests.graphical import host
from tests.graphical.desk import EXTENSION, PASSWORD, Gnome
from tests.unit.ctl import real

READY = f"Linux {host.KERNEL} is ready"


def test_the_tile_is_there_with_the_daemon_and_does_not_start_it(gnome: Gnome) -> None:
    gnome.quick_settings(True)
    gnome.until_text("Kernel waiting")
    gnome.box.run("systemctl stop liveupdated")
    gnome.until_no_text("Live Update")
    time.sleep(2)
    assert gnome.box.run(["systemctl", "is-active", "liveupdated"], check=False).code != 0
    gnome.box.run("systemctl start liveupdated")
    gnome.until_text("Live Update")


def test_a_staged_kernel_is_offered(gnome: Gnome) -> None:
    gnome.quick_settings(False)
    gnome.box.run(f"liveupdatectl stage {host.KERNEL}")
    gnome.until_text(READY)
    gnome.evaluate("Main.messageTray._banner.expand(false)")
    for button in ("Update Now", "Tonight", "Details"):
        gnome.until_text(button)
    gnome.picture("staged")


def test_the_menu_tells_when(gnome: Gnome) -> None:
    gnome.box.run("liveupdatectl schedule 'Sun *-*-* 03:00'")
    gnome.quick_settings(True)
    gnome.until_text("Update scheduled")
    gnome.picture("tile")
    gnome.press("Live Update")
    gnome.until_text("Next update: Sun")
    assert READY in gnome.texts()
    gnome.picture("menu")
    gnome.box.run("liveupdatectl unschedule")
    gnome.until_text("No update is scheduled")


def test_the_window_tells_what_would_become_of_each(gnome: Gnome) -> None:
    gnome.quick_settings(False)
    gnome.open_window()
    gnome.until_read("Would be lost")
    assert f"To Linux {host.KERNEL}" in gnome.read()
    gnome.picture("window-before")


def test_an_update_is_announced_and_called_off_with_a_password(gnome: Gnome) -> None:
    gnome.quick_settings(True)
    update(gnome)
    gnome.until_text("Updating")
    gnome.picture("countdown")
    gnome.quick_settings(False)
    gnome.press("Cancel")
    gnome.until_text("Authentication is required to cancel the update that is under way.")
    gnome.picture("password")
    gnome.type(PASSWORD)
    gnome.until_no_text("It starts in 10 seconds.")
    gnome.quick_settings(True)
    gnome.press("Live Update")
    gnome.until_text("The update was called off")


def test_the_window_follows_an_update(gnome: Gnome) -> None:
    gnome.quick_settings(False)
    update(gnome)
    gnome.picture("window-during")
    gnome.press("Cancel")  # polkit keeps the authorization for a while
    gnome.until_no_text("It starts in 10 seconds.")
    idle = "busctl get-property org.liveupdate1 /org/liveupdate1 org.liveupdate1.Manager State"
    gnome.until(lambda: "idle" in gnome.box.run(idle).stdout, "it is not called off")


def update(gnome: Gnome) -> None:
    gnome.box.run("systemd-run --quiet --collect --unit=by-root liveupdatectl update --yes")
    gnome.until_text("It starts in 10 seconds.")


def test_what_came_back_is_told_afterwards(gnome: Gnome) -> None:
    gnome.quick_settings(False)
    session = real.every_kind()
    session.created_us = time.time_ns() // 1000
    host.leave(gnome.box, session)
    gnome.until_text("with problems")
    gnome.picture("result")
    gnome.quick_settings(True)
    gnome.press("Kernel waiting")
    gnome.until_text("Updated with problems")
    gnome.quick_settings(False)
    gnome.run("gapplication action org.liveupdate1.Window show-history")
    gnome.until_read("Degraded")
    gnome.picture("window-after")


def test_switched_off_it_leaves_nothing(gnome: Gnome) -> None:
    gnome.quick_settings(True)
    gnome.until_text("Kernel waiting")
    gnome.run(f"gnome-extensions disable {EXTENSION}")
    gnome.until_no_text("Kernel waiting")
    gnome.run(f"gnome-extensions enable {EXTENSION}")
    gnome.quick_settings(True)
    gnome.until_text("Kernel waiting")
    journal = gnome.run("journalctl --user --no-pager --output=cat _COMM=gnome-shell")
    ours = [line for line in journal.splitlines() if EXTENSION in line or "liveupdated" in line]
    assert ours == []
