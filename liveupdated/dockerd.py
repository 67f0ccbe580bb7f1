# SPDX-License-Identifier: LGPL-2.1-or-later
"""Docker's daemon, spoken to over its socket: the Engine API, so that no client has to be there.

Standard library only: used on the restore path.
"""

import http.client
import json
import socket
from pathlib import Path

from liveupdated.errors import ServiceError
from liveupdated.session import Json

SOCKET = Path("/run/docker.sock")
PID = Path("/run/docker.pid")
"""While it runs.  The socket alone may be systemd's: to connect to it would start the daemon."""
UNIT = "docker.service"
LIMIT_S = 60.0
API = "/v1.41"
"""Of Docker 20.10; later ones speak it too (docs.docker.com/reference/api/engine)."""


class _Connection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(SOCKET))


def runs() -> bool:
    """Whether the daemon runs."""
    try:
        return Path("/proc", PID.read_text().strip(), "comm").read_text().strip() == "dockerd"
    except OSError:
        return False


def call(method: str, path: str) -> Json:
    """What it answers, parsed.  Raises ServiceError with its own words."""
    connection = _Connection("docker", timeout=LIMIT_S)
    try:
        connection.request(method, API + path)
        response = connection.getresponse()
        data = response.read()
        answer = json.loads(data) if data else None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ServiceError("docker's daemon does not answer", str(error)) from error
    finally:
        connection.close()
    if response.status >= 400:  # 304: it is so already
        raise ServiceError(f"docker's daemon refuses {path}", str((answer or {}).get("message")))
    return answer


def running() -> list[Json]:
    """Every container that runs or is paused, as `docker inspect` shows it."""
    return [inspect(each["Id"]) for each in call("GET", "/containers/json")]


def inspect(container_id: str) -> Json:
    return call("GET", f"/containers/{container_id}/json")
