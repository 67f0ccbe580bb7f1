# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a workload stands on, in the words of `liveupdated.session.Workload.needs`.

What nobody in the session provides comes with the boot, so all that may matter is named.  Standard
library only.
"""

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from liveupdated import checkpoint, criu, systemd


def of_processes(pids: Sequence[int]) -> list[str]:
    """The mounts that their files are on, and the addresses that their TCP sockets have."""
    found = {f"path:{place}" for pid in pids for place in _mounts(pid)}
    sockets = checkpoint.sockets(pids)
    ends = [*sockets.listeners, *(local for local, _ in sockets.connections)]
    found |= {f"address:{end.address}" for end in ends if _is_of_a_link(end.address)}
    return sorted(found)


def of_unit(name: str) -> list[str]:
    """The services that systemd starts before this one."""
    after = systemd.show_one(name, "After").get("After", "").split()
    return sorted(f"unit:{other}" for other in after if other.endswith(".service"))


def _mounts(pid: int) -> set[str]:
    """Mount points, but the root's, of what it has open or mapped, and of where it is."""
    try:
        lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    except criu.GONE:
        return set()
    places = {line.split()[4] for line in lines} - {"/"}  # proc_pid_mountinfo(5), field 5
    return {place for path in _paths(pid) if (place := _longest(path, places))}


def _paths(pid: int) -> set[str]:
    links = set()
    with contextlib.suppress(*criu.GONE):
        links = {os.readlink(f"/proc/{pid}/{link}") for link in ("cwd", "exe")}
    found = links | criu.mapped(pid) | set(criu.descriptors(pid).values())
    return {path for path in found if path.startswith("/")}


def _longest(path: str, places: Iterable[str]) -> str:
    """The mount point that the path is below."""
    above = (place for place in places if f"{path}/".startswith(f"{place}/"))
    return max(above, key=len, default="")


def _is_of_a_link(address: str) -> bool:
    """Not one that is there with the kernel, as loopback's are."""
    import ipaddress  # noqa: PLC0415 - for the plan alone

    parsed = ipaddress.ip_address(address)
    return not (parsed.is_loopback or parsed.is_unspecified)
