# SPDX-License-Identifier: LGPL-2.1-or-later
"""podman as the kind of containers sees it: rootful podman with crun or runc, and conmon.

Standard library only: used on the restore path.
"""

import json
import shutil
import subprocess
from pathlib import Path

from liveupdated.errors import ServiceError
from liveupdated.session import Json

PODMAN = "podman"
ALIVE = Path("/run/libpod/alive")
"""podman makes it at its first call in a boot (runtime.refresh() of its libpod): without it, no
container of root's runs."""
DNS_PID = Path("/run/containers/networks/aardvark-dns/aardvark.pid")
"""netavark starts it with the first network that needs it, and ends it with the last."""
CALL_LIMIT_S = 120
INVOCATION = "INVOCATION_ID"
"""Where systemd.exec(5) has set that, podman leaves conmon in the cgroup of the service that called
it (moveConmonToCgroupAndSignal() of its oci_conmon_linux.go), and conmon ends with that service."""

Container = dict[str, Json]
"""What `podman container inspect` prints of one container (podman-container-inspect(1))."""


def call(*words: str, limit_s: int = CALL_LIMIT_S) -> str:
    """Run podman and return what it printed.  Raises ServiceError with its own words.

    In a transient service: podman mounts its storage even to list containers, which no caller's
    sandbox should have to allow for.
    """
    command = ["systemd-run", "--quiet", "--pipe", "--wait", "--collect", "--service-type=exec"]
    command += [f"--property=RuntimeMaxSec={limit_s}", "--property=UMask=0077"]
    command += ["--property=LimitCORE=0", "--"]
    command += ["env", f"--unset={INVOCATION}", PODMAN, *words]
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=limit_s + 10
        )
    except subprocess.TimeoutExpired as error:
        raise ServiceError(f"podman {words[0]} does not answer", f"after {limit_s} s") from error
    if done.returncode != 0:
        said = done.stderr.strip() or f"exit code {done.returncode}"
        raise ServiceError(f"podman {' '.join(words[:2])} failed", said)
    return done.stdout


def running() -> list[Container]:
    """Every container of root's that runs or is paused.  Raises ServiceError."""
    if not ALIVE.exists() or not shutil.which(PODMAN):
        return []
    states = ("--filter=status=running", "--filter=status=paused")
    ids = call("ps", "--quiet", "--no-trunc", *states).split()
    if not ids:
        return []
    found: list[Container] = json.loads(call("container", "inspect", "--", *ids))
    return found


def helpers() -> list[int]:
    """Processes of podman's that come and go with its containers."""
    try:
        return [int(DNS_PID.read_text())]
    except (OSError, ValueError):
        return []


def joined(container: Container) -> dict[str, str]:
    """The namespaces it shares with another container: type, as in its OCI configuration, to the
    other's id."""
    modes = {"network": "NetworkMode", "ipc": "IpcMode", "uts": "UTSMode", "pid": "PidMode"}
    host = container["HostConfig"]
    found = {}
    for kind, key in modes.items():
        how, _, other = str(host.get(key, "")).partition(":")
        if how == "container":
            found[kind] = other
    return found


def service_of(container: Container) -> str:
    """The service in whose cgroup its monitor, conmon, runs; empty when that is in a scope."""
    try:
        path = Path(f"/proc/{container['State']['ConmonPid']}/cgroup").read_text().strip()
    except OSError:
        return ""
    return next((word for word in reversed(path.split("/")) if word.endswith(".service")), "")


def bundle(container: Container) -> Path:
    """Where podman keeps its configuration, its logs, and a checkpoint made in place."""
    return Path(container["StaticDir"])


def runtime(container: Container) -> str:
    """`crun`, `runc` and the like."""
    return Path(container.get("OCIRuntime", "")).name


def addresses(container: Container) -> list[str]:
    """Its own in its networks, or those of the container whose network it shares."""
    networks = (container.get("NetworkSettings") or {}).get("Networks") or {}
    keys = ("IPAddress", "GlobalIPv6Address")
    return sorted({each[key] for each in networks.values() for key in keys if each.get(key)})


def published(container: Container) -> list[tuple[str, int]]:
    """The host's TCP ports that lead to it, with the host's address (`0.0.0.0` for all)."""
    ports = (container.get("NetworkSettings") or {}).get("Ports") or {}
    return sorted(
        {
            (binding.get("HostIp") or "0.0.0.0", int(binding["HostPort"]))  # noqa: S104
            for port, bindings in ports.items()
            if port.endswith("/tcp")
            for binding in bindings or ()
        }
    )
