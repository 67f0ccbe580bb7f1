# SPDX-License-Identifier: LGPL-2.1-or-later
"""Why a container's memory could not be carried: sentences with the way out where there is one.

What is here was tried with podman 5.4, crun 1.21, runc 1.1 and CRIU 4.2.1, or is in their sources.
Standard library only.
"""

import re
import shutil
from pathlib import Path

from liveupdated import criu, podman

CRIU_CONFIG = Path("/etc/criu/default.conf")
"""Read by CRIU also when crun calls it, as no file of crun's own is (crun 1.21)."""
LIBCRIU = ("usr/lib/*/libcriu.so.2", "usr/lib/libcriu.so.2", "usr/lib64/libcriu.so.2")
USER_NETWORKS = ("pasta", "slirp4netns")
NAMELESS = re.compile(r"[0-9a-f]{64}")
"""What podman calls a volume that nobody named."""


def of_the_host(runtimes: set[str]) -> list[str]:
    """What is missing for any container of these runtimes."""
    found = []
    if not criu.version():
        found.append(f"{criu.CRIU} is not installed (way out: install criu)")
    if "crun" in runtimes and not any(
        path for pattern in LIBCRIU for path in Path("/").glob(pattern)
    ):
        found.append("crun does not find libcriu (way out: install libcriu2)")
    if not shutil.which("nft"):
        found.append("its network cannot be shut meanwhile (way out: install nftables)")
    if not shutil.which("iptables-restore") and "network-lock nftables" not in _config():
        found.append(
            "CRIU looks for iptables, which is not installed (way out: a line "
            f"'network-lock nftables' in {CRIU_CONFIG})"
        )
    return found


def _config() -> str:
    try:
        lines = CRIU_CONFIG.read_text().splitlines()
    except OSError:
        return ""
    return "\n".join(" ".join(line.split()) for line in lines)


def of(container: podman.Container) -> list[str]:
    """What stands in the way of this container."""
    host, config = container["HostConfig"], container["Config"]
    removed, joined = bool(host.get("AutoRemove")), podman.joined(container)
    runtime = podman.runtime(container)
    links = [
        mount["Source"]
        for mount in container.get("Mounts", ())
        if mount.get("Type") == "bind" and Path(mount["Source"]).is_symlink()
    ]
    nameless = [
        mount["Name"]
        for mount in container.get("Mounts", ())
        if mount.get("Type") == "volume" and NAMELESS.fullmatch(mount.get("Name", ""))
    ]
    checks = {
        f"its runtime is {runtime}, and only the checkpoints of crun and runc are known to leave a "
        "container frozen (way out: --runtime=crun)": runtime not in ("crun", "runc"),
        "it is paused (way out: podman unpause)": container["State"].get("Paused"),
        "it uses the host's network, where what arrives after the checkpoint would be lost"
        " (way out: a network of its own)": host.get("NetworkMode") == "host",
        f"its network is {host.get('NetworkMode')}, a process of podman's that is not carried"
        " (way out: a bridge network)": str(host.get("NetworkMode")).startswith(USER_NETWORKS),
        "it shares the host's process ids (way out: no --pid=host)": host.get("PidMode") == "host",
        "it shares the host's System V and POSIX IPC (way out: no --ipc=host)": (
            host.get("IpcMode") == "host"
        ),
        "podman cannot restore into a user namespace with a network (way out: no --userns)": (
            host.get("UsernsMode")
        ),
        "it has a terminal (way out: no --tty)": config.get("Tty"),
        "it has all devices of the host (way out: no --privileged)": host.get("Privileged"),
        "it has devices of the host (way out: no --device)": host.get("Devices"),
        "a podman exec runs in it (way out: end that)": container.get("ExecIDs"),
        "podman removes it when it ends, and cannot export one that shares namespaces"
        " (way out: no --rm)": removed and joined,
        f"it mounts what is a symbolic link: {', '.join(links)}"
        " (way out: mount what that leads to)": removed and links,
        "podman removes it when it ends, with a volume that has no name"
        " (way out: name the volume)": removed and nameless,
    }
    return [reason for reason, holds in checks.items() if holds]
