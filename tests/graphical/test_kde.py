# SPDX-License-Identifier: LGPL-2.1-or-later
"""Notifications in KDE's Plasma, where some go by themselves after a few seconds."""

from tests.graphical import host
from tests.graphical.desk import Kde


def test_a_staged_kernel_is_offered_and_details_open_the_window(kde: Kde) -> None:
    kde.box.run(f"liveupdatectl stage {host.KERNEL}")
    kde.until_text(f"Linux {host.KERNEL} is ready")
    found = kde.texts()
    assert {"Update Now", "Tonight", "Details"} <= set(found), found
    kde.picture("staged")
    kde.press("Details")
    kde.until_text("Kernels")
    kde.picture("window")


def test_an_update_is_announced_with_what_can_be_done(kde: Kde) -> None:
    kde.box.run("systemd-run --quiet --unit=by-root liveupdatectl update --yes")
    kde.until_text("It starts in 10 seconds.")
    kde.until_text("Cancel")
    kde.picture("countdown")


def test_no_word_of_it_is_an_error(kde: Kde) -> None:
    said = kde.run("journalctl --user --no-pager --output=cat --unit=liveupdated-agent")
    assert "Traceback" not in said and "nothing is shown" not in said
