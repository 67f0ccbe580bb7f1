# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether a desktop itself opens again what was open when its session ended.

Read by processes of the user only.  Standard library only.
"""

import subprocess
from collections.abc import Mapping
from configparser import ConfigParser, Error
from pathlib import Path

ASK_LIMIT_S = 10.0
GNOME = "org.gnome.SessionManager /org/gnome/SessionManager org.gnome.SessionManager"


def does(environment: Mapping[str, str]) -> bool:
    """As far as it tells; no desktop does for an application that takes no part in it."""
    desktops = environment.get("XDG_CURRENT_DESKTOP", "").split(":")
    return ("GNOME" in desktops and _gnome()) or ("KDE" in desktops and _kde(environment))


def _gnome() -> bool:
    """Its session manager does since GNOME 50; before, it has no such property."""
    try:
        done = subprocess.run(
            ["busctl", "--user", "get-property", *GNOME.split(), "RestoreSupported"],
            check=False,
            capture_output=True,
            timeout=ASK_LIMIT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.stdout.strip() == b"b true"


def _kde(environment: Mapping[str, str]) -> bool:
    """Plasma does unless its settings say otherwise (System Settings, "Desktop Session")."""
    home = environment.get("XDG_CONFIG_HOME") or f"{environment.get('HOME', '')}/.config"
    settings = ConfigParser(interpolation=None, strict=False)
    try:
        settings.read(Path(home, "ksmserverrc"))
    except (Error, OSError, UnicodeDecodeError):
        return True
    return settings.get("General", "loginMode", fallback="") != "emptySession"
