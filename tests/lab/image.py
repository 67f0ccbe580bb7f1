# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lab's Debian: trixie with its own kernel 6.12 and backports' 7.3, and CRIU from sid.

Built with mmdebstrap as root, once, and cached by a hash of the recipe.  The package under test is
not in it; `layer` adds that.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import cache, mirror
from .errors import LabError

HERE = Path(__file__).parent
DISK_SIZE = "6G"

PACKAGES = (
    # the system
    "systemd systemd-sysv udev dbus dbus-daemon polkitd libpam-systemd iproute2 nftables procps "
    "kmod e2fsprogs linux-image-cloud-amd64 zstd less socat qemu-guest-agent "
    # what the package under test depends on
    "python3 python3-dbus-next python3-dbus-fast python3-systemd python3-psutil python3-pydantic "
    "python3-click python3-rich python3-pefile kexec-tools criu "
    # workloads
    "redis-server memcached qemu-system-x86 "
    # containers; crun loads libcriu at run time, without a dependency
    "podman crun libcriu2 netavark aardvark-dns catatonit busybox-static docker.io "
    "libvirt-daemon-system libvirt-clients libvirt-daemon-driver-qemu "
    "postgresql nginx-light tmux screen vim-tiny at cron dbus-user-session "
    # DPDK, and the libraries of its testpmd: that comes in a package for development which wants
    # headers that CRIU's newer libraries do not have, so `customize` takes it out of there
    "dpdk ibverbs-providers librte-cmdline25 librte-mempool-ring25 librte-net-null25 "
    "librte-net-e1000-25 librte-net-bnxt25 librte-net-i40e25 librte-net-iavf25 librte-net-ixgbe25 "
    "librte-net-dpaa25 librte-net-bond25 librte-net-ice25 librte-net-mlx5-25 "
    "librte-crypto-scheduler25 librte-bitratestats25 librte-bpf25 librte-gro25 librte-gso25 "
    "librte-latencystats25 librte-pdump25"
)

SUITES = ("trixie", "trixie-backports", "sid")


@dataclass(frozen=True)
class Kernel:
    """A kernel of the image, copied outside it for QEMU's `-kernel`."""

    version: str
    image: Path
    initrd: Path


@dataclass(frozen=True)
class Image:
    """A finished image: `root` as a folder, `disk` the same as an ext4 disk."""

    path: Path

    @property
    def root(self) -> Path:
        return self.path / "root"

    @property
    def disk(self) -> Path:
        return self.path / "root.img"

    @property
    def name(self) -> str:
        return self.path.name

    def kernel(self, version: str) -> Kernel:
        """The kernel whose version begins with `version`, such as ``6.12``."""
        for file in sorted((self.path / "kernels").glob(f"vmlinuz-{version}*")):
            full = file.name.removeprefix("vmlinuz-")
            return Kernel(full, file, file.with_name(f"initrd.img-{full}"))
        raise LabError(f"the image has no kernel {version}")


def image() -> Image:
    """The lab's image; the first call builds it, which takes some minutes and needs root."""
    recipe = cache.digest(
        *options(PACKAGES), *SUITES, DISK_SIZE, HERE / "customize", HERE / "rootfs"
    )
    return Image(cache.made(cache.folder() / "images" / recipe, _build))


def _build(path: Path) -> None:
    path.mkdir()
    hooks = (
        '--setup-hook=mkdir -p "$1/etc/apt/preferences.d"',
        f"--setup-hook=copy-in {HERE}/rootfs/etc/apt/preferences.d/lab /etc/apt/preferences.d",
        f"--customize-hook={HERE}/customize",
    )
    bootstrap(path / "root", PACKAGES, SUITES, hooks)
    kernels = path / "kernels"
    kernels.mkdir()
    for folder in (path / "root/boot", path / "root/var/lib/lab/boot"):
        for file in folder.glob("*-*"):
            if file.name.startswith(("vmlinuz-", "initrd.img-")):
                shutil.copy2(file, kernels)
    make_disk(path / "root", path / "root.img")


def options(packages: str) -> tuple[str, ...]:
    """What mmdebstrap is to make, apart from suites."""
    return (
        "--variant=apt",
        "--mode=root",
        "--architectures=amd64",
        "--include=" + packages.replace(" ", ","),
        '--aptopt=APT::Install-Recommends "false"',
        # sid's Release file can be past its date on a mirror
        '--aptopt=Acquire::Check-Valid-Until "false"',
        "--dpkgopt=force-unsafe-io",
    )


def bootstrap(root: Path, packages: str, suites: tuple[str, ...], hooks: tuple[str, ...]) -> None:
    """Make the folder `root` a Debian of `suites`, the first one's, with `packages`."""
    if os.geteuid() != 0:
        raise LabError("only root can build the lab's image")
    uri, proxy = mirror.debian_mirror(), mirror.proxy()
    debs = cache.folder() / "apt"
    debs.mkdir(exist_ok=True)
    command = ["mmdebstrap", "--quiet", *options(packages)]
    if proxy:
        command.append(f'--aptopt=Acquire::http::Proxy "{proxy}"')
    if uri.startswith("https:"):
        command.append("--include=ca-certificates")
    command += [
        # packages downloaded by an earlier build
        "--skip=essential/unlink",
        "--skip=download/empty",
        '--setup-hook=mkdir -p "$1/var/cache/apt/archives"',
        f"--setup-hook=sync-in {debs} /var/cache/apt/archives",
        *hooks,
        f"--customize-hook=sync-out /var/cache/apt/archives {debs}",
        suites[0],
        str(root),
        *(f"deb {uri} {suite} main" for suite in suites),
    ]
    # Without a terminal of its own mmdebstrap takes stdin for a list of sources.
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise LabError(f"mmdebstrap failed with {done.returncode}:\n{done.stderr[-4000:]}")


def make_disk(root: Path, disk: Path) -> None:
    """Write the folder `root` as an ext4 file system into the sparse file `disk`."""
    command = ["mke2fs", "-q", "-t", "ext4", "-J", "size=64", "-E", "lazy_itable_init=0"]
    command += ["-d", str(root), str(disk), DISK_SIZE]
    subprocess.run(command, check=True, capture_output=True)
