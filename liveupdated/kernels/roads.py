# SPDX-License-Identifier: LGPL-2.1-or-later
"""The roads that lead to kernels: the names that distributions use, and boot loader entries.

Nothing is read here but folders and entries; what an image is, only its header says.
"""

import errno
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from liveupdated import paths, session
from liveupdated.errors import BadKernel
from liveupdated.kernels import KernelConfig, entries, images, verify

log = logging.getLogger(__name__)

BOOT_FOLDERS = ("boot", "boot/efi", "efi")
"""Where $BOOT and the ESP are mounted (UAPI.1)."""

_GARBAGE = (".dpkg-", ".rpmsave", ".rpmnew", ".sig", ".hmac", ".sha256", ".sha512")
# What grub-mkconfig (util/grub.d/10_linux.in) puts before the initrd, when it is there.
_EARLY_INITRDS = (
    "intel-uc.img",
    "intel-ucode.img",
    "amd-uc.img",
    "amd-ucode.img",
    "early_ucode.cpio",
    "microcode.cpio",
)


@dataclass(frozen=True)
class Candidate:
    """A file that may be a kernel, and what the road to it says."""

    found: Path
    """As the road names it."""
    image: Path
    """The same with all links resolved."""
    source: str
    label: str
    """What to call it when its header gives no version."""
    initrds: tuple[Path, ...] = ()
    options: str | None = None
    entry: Path | None = None
    warnings: tuple[str, ...] = ()


def find(config: KernelConfig) -> list[Candidate]:
    """All candidates, in a fixed order of roads: of two images with one release, the one that
    comes first here has the plain id."""
    found: list[Candidate] = []
    roads: list[Callable[[], Iterator[Candidate]]] = [
        _boot_files,
        _module_folders,
        lambda: _type1(config),
        _type2,
    ]
    for road in roads:
        found.extend(road())
    return found


def _boot_files() -> Iterator[Candidate]:
    """Debian and Ubuntu, Fedora, Arch: /boot/vmlinuz-X and an initrd called after X."""
    for folder in BOOT_FOLDERS:
        for path in _list(paths.ROOT / folder):
            prefix, _, name = path.name.partition("-")
            # Fedora's rescue kernel is a copy of some other with an initrd for any hardware.
            if prefix != "vmlinuz" or not name or _is_garbage(name) or name.startswith("0-rescue"):
                continue
            initrd, source = _initrd_called(path.parent, name)
            yield Candidate(
                found=path,
                image=_resolve(path),
                source=source,
                label=name,
                initrds=(*_early_initrds(path.parent), initrd) if initrd else (),
            )


def _module_folders() -> Iterator[Candidate]:
    """/usr/lib/modules/V/vmlinuz: Fedora, Arch, and Debian since its 7.x kernels."""
    for folder in _list(paths.ROOT / "usr/lib/modules"):
        path = folder / "vmlinuz"
        if not path.is_file():
            continue
        initrd = next(
            (folder / name for name in ("initramfs.img", "initrd") if (folder / name).is_file()),
            None,
        )
        if initrd is None:
            initrd, _ = _initrd_called(paths.ROOT / "boot", folder.name)
        yield Candidate(
            found=path,
            image=_resolve(path),
            source="modules",
            label=folder.name,
            initrds=(_resolve(initrd),) if initrd else (),
        )


def _type1(config: KernelConfig) -> Iterator[Candidate]:
    try:
        machine_id = session.machine_id()
    except OSError:
        machine_id = ""
    for folder in BOOT_FOLDERS:
        boot = paths.ROOT / folder
        variables = _grub_variables(boot, config)
        read: list[entries.Entry] = []
        for path in _list(boot / "loader/entries"):
            if path.suffix != ".conf":
                continue
            try:
                text = verify.read_trusted(_resolve(path), config.allowed_folders)
            except BadKernel as error:
                log.warning("left out the boot entry %s: %s", path, error)
                continue
            read.append(entries.parse_entry(text, path, variables))
        for entry in sorted(read, key=entries.menu_key):
            # $BOOT is shared: an entry with another machine id boots another system.
            if entry.machine_id and machine_id and entry.machine_id != machine_id:
                continue
            if candidate := _from_entry(entry, boot):
                yield candidate


def _from_entry(entry: entries.Entry, boot: Path) -> Candidate | None:
    if not entry.linux or "0-rescue" in entry.linux:
        return None
    if entry.architecture not in ("", images.host_arch()):
        return None  # "this entry should be hidden", says UAPI.1
    image = _beside(entry.linux, boot)
    if entry.efi and "EFI/Linux/" not in entry.linux.replace("\\", "/"):
        return None  # a shell, a memory test, another boot loader
    warnings = (f"boot counting has given up on {entry.path.name}",) if entry.given_up else ()
    return Candidate(
        found=image,
        image=_resolve(image),
        source="bls1",
        label=entry.version or entry.name,
        initrds=tuple(_resolve(_beside(name, boot)) for name in entry.initrds),
        options=entry.options,
        entry=_resolve(entry.path),
        warnings=warnings,
    )


def _type2() -> Iterator[Candidate]:
    for folder in BOOT_FOLDERS:
        for path in _list(paths.ROOT / folder / "EFI/Linux"):
            if path.suffix.lower() != ".efi" or not path.is_file():
                continue
            entry = entries.Entry(path=path, linux="")
            warnings = []
            if entry.given_up:
                warnings.append(f"boot counting has given up on {path.name}")
            if any(_list(path.with_name(path.name + ".extra.d"))):
                warnings.append("its add-ons (.extra.d) are left out")
            yield Candidate(
                found=path,
                image=_resolve(path),
                source="uki",
                label=entry.name,
                warnings=tuple(warnings),
            )


def _beside(name: str, boot: Path) -> Path:
    """The file an entry names, counted from the root of the file system that holds the entry:
    that is `boot`, or the root folder where /boot is no mount of its own (Fedora's cloud images).
    """
    relative = name.replace("\\", "/").lstrip("/")
    at_root = paths.ROOT / relative
    beside = boot / relative
    return at_root if at_root.is_file() and not beside.is_file() else beside


def _initrd_called(folder: Path, name: str) -> tuple[Path | None, str]:
    """The initrd of the kernel `name`, and whose habit its name is."""
    for pattern, source in (
        ("initrd.img-{}", "debian"),
        ("initramfs-{}.img", "fedora" if name[0].isdigit() else "arch"),
        ("initrd-{}", "suse"),
    ):
        path = folder / pattern.format(name)
        if path.is_file():
            return _resolve(path), source
    return None, "boot"


def _early_initrds(folder: Path) -> list[Path]:
    return [_resolve(folder / name) for name in _EARLY_INITRDS if (folder / name).is_file()]


def _grub_variables(boot: Path, config: KernelConfig) -> dict[str, str] | None:
    path = boot / "grub2/grubenv"
    if not path.exists():
        return None
    try:
        return entries.parse_grubenv(verify.read_trusted(_resolve(path), config.allowed_folders))
    except BadKernel as error:
        log.warning("left out GRUB's variables: %s", error)
        return {}


def _is_garbage(name: str) -> bool:
    return any(word in name for word in _GARBAGE)


def _resolve(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _list(folder: Path) -> list[Path]:
    """What is in a folder, by name; nothing when it is not there or cannot be read."""
    try:
        with os.scandir(folder) as found:
            return sorted(Path(entry.path) for entry in found)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            log.warning("left out the kernels in %s: %s", folder, error.strerror)
        return []
