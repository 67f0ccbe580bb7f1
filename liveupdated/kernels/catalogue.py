# SPDX-License-Identifier: LGPL-2.1-or-later
"""The kernels of this host, each once, newest first."""

import functools
import os
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from liveupdated import paths
from liveupdated.errors import BadKernel, Blocked, NotFound
from liveupdated.kernels import KernelConfig, cmdline, images, roads, verify, versions
from liveupdated.kernels.features import BuildConfig, Features, features, find_config
from liveupdated.kernels.images import Image
from liveupdated.kernels.roads import Candidate

_ODD = re.compile(r"[^A-Za-z0-9._+~@:-]")
# What the kernel cannot find on its own: it knows device names, PARTUUID= and PARTLABEL= only
# (block/early-lookup.c), and no names that udev or device-mapper tools make.
_ROOT_NEEDS_INITRD = ("UUID=", "LABEL=", "ZFS=", "/dev/mapper/", "/dev/disk/")


@dataclass(frozen=True)
class Kernel:
    """A bootable pair of image and initrd with its command line."""

    id: str
    """The release; with `@` and the file's name where an earlier image has that release."""
    release: str
    """As `uname -r`, from the header; empty when the image cannot be read."""
    build: str
    """As `uname -v`; empty when unknown."""
    arch: str
    """As `uname -m`; empty when the image cannot be read."""
    kind: str
    """Of images.Kind; empty when the image cannot be read."""
    image: Path
    initrds: tuple[Path, ...]
    """All of them, in the order they are passed; those inside a UKI are not named."""
    cmdline: str
    source: str
    """The road whose command line or name was used: debian, fedora, suse, arch, boot (no initrd
    by any habit), modules, bls1, uki."""
    entry: Path | None
    """The boot loader entry that says how to boot it."""
    features: Features
    running: bool
    """It is what runs now; the same release in another build is not."""
    problems: tuple[str, ...]
    """Why it cannot be staged."""
    warnings: tuple[str, ...]
    """Why it is not taken when nobody asked for it by its id."""


def no_criu(kernel: Kernel, append: str = "") -> str:
    """Why CRIU cannot restore memory on it, with `append` on its command line; empty: it can."""
    if kernel.features.criu is False:
        return (
            "is built without what CRIU needs to restore memory (CONFIG_CHECKPOINT_RESTORE and "
            "others)"
        )
    words = cmdline.split(f"{kernel.cmdline} {append}")
    if hidden := cmdline.hidden_cpu_features(words, cmdline.split(cmdline.running())):
        return (
            f"is to run with {' '.join(hidden)}, which hides features of the CPU that CRIU may "
            "have to restore"
        )
    return ""


def list_kernels(config: KernelConfig) -> list[Kernel]:
    """Every kernel of this host, newest first; one that cannot be staged has `problems`.

    Reads files: not for an event loop.  Raises InvalidArgument when the configuration's additions
    cannot be on a command line.
    """
    groups = _merge([_probe(candidate, config) for candidate in roads.find(config)])
    kernels = [_kernel(group, config) for group in groups]
    kernels = _mark_running(list(_with_ids(kernels)))
    kernels.sort(key=lambda kernel: kernel.id)
    kernels.sort(key=lambda kernel: versions.key(kernel.release), reverse=True)
    return kernels


def choose(kernels: Sequence[Kernel], kernel_id: str, blocked: Mapping[str, str]) -> Kernel:
    """The kernel of that id, or for an empty one the newest; `blocked` maps ids to reasons.

    Raises NotFound, Blocked, or BadKernel when it cannot be staged.
    """
    if not kernel_id:
        return newest(kernels, blocked)
    for kernel in kernels:
        if kernel.id != kernel_id:
            continue
        if kernel_id in blocked:
            raise Blocked(
                f"kernel {kernel_id} is blocked",
                blocked[kernel_id],
                f"`liveupdatectl unblock {kernel_id}` allows it again",
            )
        if kernel.problems:
            raise BadKernel(f"kernel {kernel_id} cannot be staged", "; ".join(kernel.problems))
        return kernel
    raise NotFound(
        f"there is no kernel {kernel_id!r}",
        "no image with this id was found on this host",
        "`liveupdatectl kernels` lists those there are",
    )


def newest(kernels: Sequence[Kernel], blocked: Container[str]) -> Kernel:
    """The newest of `kernels` (in their order) that can be staged and is not blocked; one without
    warnings, where there is any.  Raises NotFound."""
    able = [k for k in kernels if not k.problems and k.id not in blocked]
    chosen = next((k for k in able if not k.warnings), able[0] if able else None)
    if chosen is None:
        raise NotFound(
            "there is no kernel to stage",
            f"of the {len(kernels)} kernels found each is blocked or cannot be booted"
            if kernels
            else "no kernel was found in /boot, /boot/efi, /efi and /usr/lib/modules",
            "`liveupdatectl kernels` shows what is wrong with each",
        )
    return chosen


# --- reading ---


@dataclass(frozen=True)
class _Probe:
    candidate: Candidate
    file: tuple[int, int] | None = None
    """Device and inode; None when it could not be opened."""
    size: int = 0
    """Of the kernel proper: a UKI's .linux section."""
    image: Image | None = None
    problem: str = ""

    @property
    def is_uki(self) -> bool:
        return self.image is not None and self.image.kind is images.Kind.UKI

    def sha256(self) -> str:
        """Digest of the kernel proper, empty when it cannot be read any more."""
        try:
            status = self.candidate.image.stat()
            return _sha256(self.candidate.image, status.st_ino, status.st_mtime_ns)
        except (OSError, BadKernel):
            return ""


def _probe(candidate: Candidate, config: KernelConfig) -> _Probe:
    try:
        fd = verify.open_trusted(candidate.image, config.allowed_folders)
    except BadKernel as error:
        problem = str(error)
        if candidate.found.is_symlink():
            problem = f"{candidate.found} is a link to {candidate.image}; {problem}"
        return _Probe(candidate, problem=problem)
    try:
        status = os.fstat(fd)
        file = (status.st_dev, status.st_ino)
        image = images.read_image(fd, str(candidate.image))
        size = images.linux_size(image, status.st_size)
        return _Probe(candidate, file, size, image)
    except BadKernel as error:
        return _Probe(candidate, file, problem=str(error))
    except OSError as error:
        return _Probe(candidate, problem=f"{candidate.image} cannot be read: {error.strerror}")
    finally:
        os.close(fd)


@functools.lru_cache(maxsize=4096)
def _sha256(path: Path, _inode: int, _changed: int) -> str:
    """Kept between calls as long as the file is the same: hashing is what takes time here."""
    with path.open("rb") as file:
        return images.linux_sha256(file.fileno(), images.read_image(file.fileno(), str(path)))


# --- one kernel reached by several roads ---


@dataclass
class _Group:
    """The probes that lead to the same kernel, the first road first."""

    probes: list[_Probe] = field(default_factory=list)

    @property
    def first(self) -> _Probe:
        return self.probes[0]

    @property
    def bare(self) -> bool:
        """Only the copy that the package keeps with its modules, without anything to boot it."""
        return all(p.candidate.source == "modules" and not p.candidate.initrds for p in self.probes)


def _merge(probes: Iterable[_Probe]) -> list[_Group]:
    """Group by file, then by content (same release, same digest)."""
    by_file: dict[object, _Group] = {}
    for probe in probes:
        by_file.setdefault(probe.file or probe.candidate.image, _Group()).probes.append(probe)
    merged: list[_Group] = []
    alike: dict[tuple[str, str, int], list[_Group]] = {}
    for group in by_file.values():
        image = group.first.image
        twins = alike.setdefault((image.arch, image.release, group.first.size), []) if image else []
        twin = next((twin for twin in twins if _same_kernel(twin, group)), None)
        if twin is None:
            merged.append(group)
            twins.append(group)
        elif twin.bare and group.first.is_uki:
            twin.probes[:] = group.probes  # the UKI is that very kernel, with all it needs
        else:
            twin.probes.extend(group.probes)
    return merged


def _same_kernel(a: _Group, b: _Group) -> bool:
    """Two UKIs, or a UKI and a kernel with an initrd, stay two even when the kernel in them is
    one: they boot differently."""
    if (a.first.is_uki or b.first.is_uki) and not (a.bare or b.bare):
        return False
    return a.first.sha256() == b.first.sha256() != ""


def _kernel(group: _Group, config: KernelConfig) -> Kernel:
    """What all roads know of one kernel; ids and `running` come later."""
    first = group.first
    image = first.image
    # The entry made for this very file, before one made for a copy of it.
    candidates = sorted(
        (probe.candidate for probe in group.probes),
        key=lambda candidate: candidate.image != first.candidate.image,
    )
    lead = next((c for c in candidates if c.options is not None), None)
    lead = lead or next((c for c in candidates if c.entry), candidates[0])
    initrds = lead.initrds or next((c.initrds for c in candidates if c.initrds), ())
    problems = [first.problem] if first.problem else []
    release = image.release if image else ""
    own = lead.options if lead.options is not None else (image.cmdline if image else None)
    kernel = Kernel(
        id=_ODD.sub("_", release or first.candidate.label),
        release=release,
        build=image.build if image else "",
        arch=image.arch if image else "",
        kind=str(image.kind) if image else "",
        image=first.candidate.image,
        initrds=initrds,
        cmdline=cmdline.compose(own, config.cmdline_add, config.cmdline_remove),
        source=lead.source,
        entry=lead.entry,
        features=Features(),
        running=False,
        problems=tuple(problems),
        warnings=lead.warnings,
    )
    return _judge(kernel, image, config.allowed_folders) if image else kernel


def _judge(kernel: Kernel, image: Image, allowed_folders: Iterable[str]) -> Kernel:
    """Add what the header, the configuration and the initrds say against booting it here."""
    problems = list(kernel.problems)
    warnings = list(kernel.warnings)
    for path in kernel.initrds:
        try:
            os.close(verify.open_trusted(path, allowed_folders))
        except BadKernel as error:
            problems.append(f"initrd: {error}")
    if image.arch != images.host_arch():
        problems.append(f"it is for {image.arch}, this machine is {images.host_arch()}")
    problems += image.obstacles
    config = find_config(kernel.release)
    if not kernel.initrds and image.section(".initrd") is None:
        need = _initrd_need(kernel.cmdline, config)
        if need:
            problems.append(f"no initrd was found for it, and {need}")
        elif config is None or config.has("MODULES"):
            warnings.append("no initrd was found for it")
    return replace(
        kernel,
        features=features(config),
        problems=tuple(problems),
        warnings=tuple(warnings),
    )


def _initrd_need(line: str, config: BuildConfig | None) -> str:
    """Why it cannot find its root file system on its own, as far as that can be known."""
    root = cmdline.value(line, "root") or ""
    if root.startswith(_ROOT_NEEDS_INITRD):
        return f"root={root} needs one"
    file_system = _root_file_system()
    if config and file_system and config.value(f"{file_system.upper()}_FS") == "m":
        return f"{file_system}, the root file system's type, is a module"
    return ""


def _root_file_system() -> str:
    """The type of the file system mounted on /; empty when that cannot be told."""
    try:
        lines = (paths.ROOT / "proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return ""
    mounts = [line.split(" - ", 1) for line in lines if line.split(" ")[4] == "/"]
    return mounts[-1][1].split(" ")[0] if mounts else ""


# --- names ---


def _with_ids(kernels: Iterable[Kernel]) -> Iterator[Kernel]:
    """The first of a release keeps it as its id; the order of roads does not change with what is
    installed, so neither do ids."""
    taken: set[str] = set()
    for kernel in kernels:
        names = [kernel.id, f"{kernel.id}@{kernel.image.name}"]
        names.append(f"{kernel.id}@{str(kernel.image).replace('/', ':').strip(':')}")
        clean = (_ODD.sub("_", name) for name in names)
        chosen = next((name for name in clean if name not in taken), None)
        if chosen is not None:
            taken.add(chosen)
            yield replace(kernel, id=chosen)


def _mark_running(kernels: list[Kernel]) -> list[Kernel]:
    host = os.uname()
    matching = [k for k in kernels if k.release == host.release and k.build in ("", host.version)]
    if len(matching) > 1:
        booted = cmdline.value(cmdline.running(), "BOOT_IMAGE") or ""
        matching = [k for k in matching if k.image.name == Path(booted).name] or matching
    running = matching[:1]
    return [replace(kernel, running=kernel in running) for kernel in kernels]
