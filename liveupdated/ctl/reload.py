# SPDX-License-Identifier: LGPL-2.1-or-later
"""Have the service read its settings anew, after a command has changed them."""

from liveupdated.ctl.report import say


def reload() -> None:
    """It reads them on request only; where it cannot be reached it goes on with the old ones."""
    from liveupdated import paths, systemd  # noqa: PLC0415 - few commands need them
    from liveupdated.errors import ServiceError  # noqa: PLC0415

    try:
        systemd.systemctl("try-reload-or-restart", paths.DAEMON_UNIT)
    except (ServiceError, OSError) as error:
        say(f"the service was not reloaded, and shows command lines as before: {error}")
