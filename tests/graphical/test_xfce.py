# SPDX-License-Identifier: LGPL-2.1-or-later
"""Notifications in another desktop than GNOME: those of Xfce, on a bare X server."""

from tests.graphical import host
from tests.graphical.desk import Xfce


def test_a_staged_kernel_is_offered(xfce: Xfce) -> None:
    xfce.box.run(f"liveupdatectl stage {host.KERNEL}")
    xfce.until_text(f"Linux {host.KERNEL} is ready")
    for button in ("Update Now", "Tonight", "Details"):
        xfce.until_text(button)
        assert xfce.texts().count(button) == 1
    xfce.picture("staged")


def test_details_open_the_window(xfce: Xfce) -> None:
    xfce.press("Details")
    xfce.until_text("Kernels")
    xfce.picture("window")


def test_an_update_is_announced_with_what_can_be_done(xfce: Xfce) -> None:
    xfce.box.run("systemd-run --quiet --unit=by-root liveupdatectl update --yes")
    xfce.until_text("It starts in 10 seconds.")
    xfce.until_text("Cancel")
    xfce.picture("countdown")


def test_no_word_of_it_is_an_error(xfce: Xfce) -> None:
    said = xfce.run("journalctl --user --no-pager --output=cat --unit=liveupdated-agent")
    assert "Traceback" not in said and "nothing is shown" not in said
