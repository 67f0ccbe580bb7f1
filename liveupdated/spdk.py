# SPDX-License-Identifier: LGPL-2.1-or-later
"""SPDK targets, found and asked by their JSON-RPC socket (SPDK's doc/jsonrpc.md).

A target's configuration is saved and loaded by SPDK's own Python package (`spdk.rpc`), which need
not be installed.  It is imported when it is needed: loading runs as a program of its own,
`python3 -I -m liveupdated.spdk SOCKET FILE`, as the restore worker does without site-packages.
"""

import importlib
import importlib.util
import io
import json
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liveupdated.errors import ServiceError
from liveupdated.session import Json

SOCKETS = Path("/proc/net/unix")
LISTENING, STREAM = "00010000", "0001"
"""As /proc/net/unix has them (unix_seq_show() of the kernel, linux/net.h)."""
LIMIT_S = 10.0
LOAD_LIMIT_S = 120.0
PACKAGE = "spdk.rpc"


@dataclass(frozen=True)
class Target:
    """A process that answers SPDK's JSON-RPC."""

    pid: int
    socket: str
    version: str
    """Empty when it does not answer."""


def sockets() -> Iterator[str]:
    """The paths of all unix sockets that somebody listens on."""
    for line in SOCKETS.read_text().splitlines()[1:]:
        fields = line.split(maxsplit=7)
        if len(fields) == 8 and fields[3] == LISTENING and fields[4] == STREAM:
            yield fields[7]


def target(path: str) -> Target:
    """Who is behind that socket.  Raises ServiceError when nobody is."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
        connection.settimeout(LIMIT_S)
        try:
            connection.connect(path)
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        except OSError as error:
            raise ServiceError(f"{path} cannot be connected to", str(error)) from error
        pid: int = struct.unpack("3i", credentials)[0]
        try:
            return Target(pid, path, str(_call(connection, "spdk_get_version")["version"]))
        except (OSError, ValueError, KeyError, TypeError):
            return Target(pid, path, "")


def _call(connection: socket.socket, method: str) -> Json:
    connection.sendall(json.dumps({"jsonrpc": "2.0", "method": method, "id": 1}).encode())
    text = ""
    while data := connection.recv(65536):
        text += data.decode()
        try:
            return json.loads(text)["result"]
        except ValueError:
            continue  # there is more to come
    raise ValueError("it has hung up")


def package_is_there() -> bool:
    """Whether SPDK's own package is installed."""
    try:
        return importlib.util.find_spec(f"{PACKAGE}.config") is not None
    except ModuleNotFoundError:
        return False


def _package() -> tuple[Any, Any]:
    """Its client and its configuration; nothing tells their types."""
    names = ("client", "config")
    client, config = (importlib.import_module(f"{PACKAGE}.{name}") for name in names)
    return client, config


def read_config(path: str) -> Json:
    """The configuration of the target behind that socket.  Raises ServiceError."""
    client, config = _package()
    text = io.StringIO()
    try:
        with client.JSONRPCClient(path, timeout=LIMIT_S) as connection:
            config.save_config(connection, text)
    except (client.JSONRPCException, OSError, KeyError) as error:
        raise ServiceError(f"{path} does not tell its configuration", _words(error)) from error
    return json.loads(text.getvalue())


def load_config(path: str, wanted: Json) -> list[str]:
    """Have the target set up as `wanted`; the calls whose result is not there in the end.

    A target that was started with its own configuration has some of it already, and would refuse
    to make that twice.  Raises ServiceError.
    """
    client, config = _package()
    try:
        with client.JSONRPCClient(path, timeout=LIMIT_S) as connection:
            waits = "framework_start_init" in connection.rpc_get_methods(current=True)
        left = wanted if waits else missing(wanted, read_config(path))
        if waits or left["subsystems"]:
            with client.JSONRPCClient(path, timeout=LIMIT_S) as connection:
                config.load_config(connection, io.StringIO(json.dumps(left)))
    except (client.JSONRPCException, OSError) as error:
        raise ServiceError(f"{path} does not take its configuration", _words(error)) from error
    left = missing(wanted, read_config(path))
    return [call["method"] for subsystem in left["subsystems"] for call in subsystem["config"]]


def missing(wanted: Json, now: Json) -> Json:
    """What of a configuration another one does not have; without subsystems that lack nothing."""
    has = {subsystem["subsystem"]: subsystem["config"] or [] for subsystem in now["subsystems"]}
    left = []
    for subsystem in wanted["subsystems"]:
        name = subsystem["subsystem"]
        calls = [call for call in subsystem["config"] or [] if call not in has.get(name, [])]
        if calls:
            left.append({"subsystem": name, "config": calls})
    return {"subsystems": left}


def _words(error: Exception) -> str:
    """The package's exception does not hand its message to Exception."""
    return str(getattr(error, "message", "") or error)


def load_elsewhere(path: str, file: Path) -> list[str]:
    """`load_config` in a Python with site-packages.  Raises ServiceError."""
    command = ["/usr/bin/python3", "-I", "-m", "liveupdated.spdk", path, str(file)]
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=LOAD_LIMIT_S
        )
    except subprocess.TimeoutExpired as error:
        raise ServiceError(f"{path} was not configured in time") from error
    if done.returncode != 0:
        raise ServiceError(f"{path} was not configured", done.stderr.strip()[-500:])
    found: list[str] = json.loads(done.stdout.splitlines()[-1])  # the package prints, too
    return found


def main() -> int:
    """`SOCKET FILE`: the last line that is printed is the list of calls that are still missing."""
    path, file = sys.argv[1:]
    try:
        print("\n" + json.dumps(load_config(path, json.loads(Path(file).read_bytes()))))
    except (ServiceError, ImportError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
