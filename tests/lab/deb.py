# SPDX-License-Identifier: LGPL-2.1-or-later
"""The package under test, built from this tree, and the lab's disk with it installed."""

import subprocess
from pathlib import Path

from . import cache
from .errors import LabError
from .image import Image
from .qemu import Machine

TREE = Path(__file__).parents[2]


def build_deb(name: str = "liveupdated") -> Path:
    """A package of the tree as it is now, the daemon's; built again only when a file changed."""
    key = cache.digest(*(TREE / name for name in _files()))
    folder = cache.made(cache.folder() / "debs" / key, _build)
    cache.prune("debs/*", 2 * cache.DAY)
    (deb,) = folder.glob(f"{name}_*.deb")
    return deb


def _files() -> list[str]:
    """What git knows and the package is made of, as far as it is there."""
    command = ["git", "-c", f"safe.directory={TREE}", "-C", str(TREE), "ls-files", "-z"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    names = [name for name in listed.split("\0") if name]
    others = ("tests/", "bench/")
    return sorted(n for n in names if not n.startswith(others) and (TREE / n).exists())


def _build(folder: Path) -> None:
    folder.mkdir()
    done = subprocess.run(
        [str(TREE / "packaging/build-deb"), str(folder)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise LabError(f"packaging/build-deb failed:\n{done.stderr[-4000:]}")


def layer(image: Image, deb: Path) -> Path:
    """A disk on top of the image's, on which `deb` was installed the way a user does it."""
    name = f"{image.name}-{cache.digest(deb)}.qcow2"
    disk = cache.made(cache.folder() / "layers" / name, lambda path: _install(path, image, deb))
    cache.prune("layers/*", 2 * cache.DAY)
    return disk


def _install(path: Path, image: Image, deb: Path) -> None:
    with Machine(image) as vm:
        try:
            vm.wait_running()
            vm.put(deb, f"/root/{deb.name}")
            vm.run(["apt-get", "install", "-y", f"/root/{deb.name}"], timeout=600)
        except LabError as error:
            error.add_note(vm.evidence())
            raise
        vm.power_off()
        vm.save_disk(path)
