# SPDX-License-Identifier: LGPL-2.1-or-later
"""What programs that run make and unmake themselves: it is left to them."""

import re
from fnmatch import fnmatchcase
from functools import cache

from liveupdated import paths

# Names that podman (netavark), docker, libvirt, systemd-nspawn, LXC and Kubernetes' networks give.
LINKS = (
    "podman* cni-podman* cni0 docker0 docker_gwbridge br-???????????? virbr* vnet* ve-* vb-* vz-* "
    "lxcbr* lxdbr* incusbr* cali* flannel* cilium* lxc* kube-ipvs* nodelocaldns"
).split()
# Of the same, and firewalld's.
TABLES = re.compile(
    r"\w+ (firewalld|libvirt_network|netavark|docker-bridges|kube-proxy|cilium|io\.systemd\.nat)"
)
MOUNTS = (
    "/run/user/",
    "/run/credentials/",
    "/run/docker/",
    "/run/containerd/",
    "/run/netns/netns-",
    "/run/netns/cni-",
    "/run/lock",
    "/var/lib/containers/storage/",
    "/var/lib/docker/",
    "/var/lib/kubelet/",
    "/var/lib/lxcfs",
    "/snap/",
)
NAMESPACES = "/run/netns"
"""ip-netns(8), and engines like it, mount it over itself when the first namespace is named."""
CGROUPS = ("docker", "kubepods", "libpod_parent", "lxc", "lxc.*", "buildkit", "machine")


@cache
def owns_link(name: str) -> bool:
    """Whether a link of this name is made and unmade by a program that runs."""
    return any(fnmatchcase(name, pattern) for pattern in LINKS)


def owns_table(name: str) -> bool:
    """Whether the nftables table "FAMILY NAME" is."""
    return TABLES.fullmatch(name) is not None


def owns_mount(place: str) -> bool:
    # Our own state folder cannot be saved into itself.
    return place in (str(paths.STATE), NAMESPACES) or place.startswith(MOUNTS)


def owns_cgroup(name: str) -> bool:
    """Whether a cgroup below the root or a slice is."""
    return any(fnmatchcase(name, pattern) for pattern in CGROUPS)
