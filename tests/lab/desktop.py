# SPDX-License-Identifier: LGPL-2.1-or-later
"""A Debian with desktops, for what runs in a user's graphical session.

Made like the lab's own image, without a kernel: it is booted as a container only.
"""

from pathlib import Path

from . import cache
from .image import Image, bootstrap, options

PACKAGES = (
    # the system
    "systemd systemd-sysv mount procps less dbus dbus-daemon dbus-user-session polkitd "
    "libpam-systemd "
    # what the package under test depends on
    "python3 python3-dbus-next python3-dbus-fast python3-systemd python3-psutil python3-pydantic "
    "python3-click python3-rich python3-pefile iproute2 "
    # desktops: a whole one, and the notifications of another
    "gnome-shell gnome-session-bin gjs libgl1-mesa-dri adwaita-icon-theme fonts-cantarell "
    "xfce4-notifyd xvfb xauth at-spi2-core scrot "
    # what the window is made of
    "python3-gi gir1.2-gtk-4.0 gir1.2-adw-1 librsvg2-common "
    # its tests, which run there
    "python3-pytest fonts-dejavu-core desktop-file-utils appstream gettext gir1.2-atspi-2.0"
)
PLASMA = PACKAGES + " plasma-desktop plasma-workspace"
"""With KDE's desktop in addition, which is as large as all of the others."""
SUITES = ("trixie", "sid")
"""With GNOME 48, and with the newest."""


def image(suite: str = SUITES[0], packages: str = PACKAGES) -> Image:
    """The image; the first call builds it, which takes some minutes and needs root."""
    recipe = "desktop-" + cache.digest(*options(packages), suite)

    def build(path: Path) -> None:
        path.mkdir()
        bootstrap(path / "root", packages, (suite,), ())

    return Image(cache.made(cache.folder() / "images" / recipe, build))
