# SPDX-License-Identifier: LGPL-2.1-or-later
"""The stage step: a kernel goes from its id to being loaded for kexec, checked all the way.

Nothing in the request is trusted further than it must be: the id is looked up here again, and each
file is opened once, checked and hashed, and that very descriptor is what the kernel loads.
"""

import contextlib
import dataclasses
import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path

from liveupdated import criu, paths, pci
from liveupdated.carriers import pmem
from liveupdated.errors import BadKernel, InvalidArgument, KexecRefused
from liveupdated.kernels import (
    KernelConfig,
    blocked,
    catalogue,
    cmdline,
    features,
    images,
    lean,
    loader,
    modules,
    pids,
    tuning,
    verify,
)
from liveupdated.kernels.catalogue import Kernel
from liveupdated.kernels.images import Image
from liveupdated.kernels.window import Window
from liveupdated.session import Json, Target, write_durably

log = logging.getLogger(__name__)

_TOKEN = re.compile(r"[0-9a-f]{16,64}")


@dataclasses.dataclass(frozen=True)
class Request:
    """What the daemon asks for."""

    kernel: str = ""
    """Catalogue id; empty for the newest that is not blocked."""
    append: str = ""
    """Words to add to the command line."""
    token: str = ""
    """Hexadecimal; empty for none."""


def read_request() -> Request:
    """The request in paths.STAGE_REQUEST.  Raises InvalidArgument."""
    try:
        return parse_request(json.loads(paths.STAGE_REQUEST.read_bytes()))
    except (OSError, ValueError) as error:
        raise InvalidArgument("the stage request cannot be read", str(error)) from error


def parse_request(data: Mapping[str, Json]) -> Request:
    """Raises InvalidArgument when `data` is no request."""
    try:
        request = Request(**data)
    except TypeError as error:
        raise InvalidArgument("the stage request has another shape", str(error)) from error
    if not all(isinstance(text, str) for text in dataclasses.astuple(request)):
        raise InvalidArgument("the stage request has another shape", "all of it must be text")
    if request.token and not _TOKEN.fullmatch(request.token):
        raise InvalidArgument("the token is malformed", "it must be 16 to 64 hexadecimal digits")
    cmdline.check(request.append)
    return request


def run(request: Request, config: KernelConfig) -> Target:
    """Load the kernel that `request` asks for and record it in paths.STAGED.

    Raises NotFound, Blocked, BadKernel, InvalidArgument or KexecRefused; then nothing is loaded and
    nothing recorded, not even what was staged before.
    """
    paths.STAGED.unlink(missing_ok=True)
    try:
        kernel = catalogue.choose(catalogue.list_kernels(config), request.kernel, blocked.read())
        if config.lean_initrd and kernel.initrds:
            kernel = _with_lean_initrd(kernel)
        _keep_loaders_words(request)
        target = _load(kernel, request, config)
        paths.STAGED.parent.mkdir(parents=True, exist_ok=True)
        write_durably(paths.STAGED, json.dumps(dataclasses.asdict(target)).encode())
    except BaseException as error:
        _disarm_after(error)
        raise
    return target


def make_initrd(request: Request, config: KernelConfig) -> None:
    """Have a lean one of the kernel that `request` asks for, for `run`.  Raises LiveUpdateError."""
    kernel = catalogue.choose(catalogue.list_kernels(config), request.kernel, blocked.read())
    if kernel.initrds and not lean.ready(kernel.release, kernel.initrds[-1]):
        lean.build(kernel.release, kernel.initrds[-1])


def _with_lean_initrd(kernel: Kernel) -> Kernel:
    """The kernel, with the lean one, if there is one, in place of its full one: that is the last,
    after microcode."""
    *before, full = kernel.initrds
    made = lean.ready(kernel.release, full)
    return dataclasses.replace(kernel, initrds=(*before, made)) if made else kernel


def unstage() -> None:
    """Nothing stays armed.  Raises KexecRefused when the kernel cannot be taken out."""
    paths.STAGED.unlink(missing_ok=True)
    loader.unload()


def _load(kernel: Kernel, request: Request, config: KernelConfig) -> Target:
    with contextlib.ExitStack() as stack:

        def keep(fd: int) -> int:
            stack.callback(os.close, fd)
            return fd

        image_fd = keep(verify.open_trusted(kernel.image, config.allowed_folders))
        image = images.read_image(image_fd, str(kernel.image))
        if image.arch != images.host_arch() or image.release != kernel.release:
            raise BadKernel(
                f"{kernel.image} changed while it was being staged",
                f"it is now {image.release} for {image.arch}",
                "wait until the package manager has finished",
            )
        line = _command_line(kernel, image, request, config)
        try:
            digest = Window.whole(image_fd).sha256()
            linux_fd = keep(images.payload(image_fd, image, str(kernel.image)))
            initrd_fds = [keep(fd) for fd in images.embedded_initrds(image_fd, image)]
            names = [f"{kernel.image}:{name}" for name in (".ucode", ".initrd")]
            names = [name for name in names if image.section(name.rpartition(":")[2])]
            for path in kernel.initrds:
                initrd_fds.append(keep(_open_initrd(path, config)))
                names.append(str(path))
            initrd_fd = loader.join_initrds(initrd_fds)
        except OSError as error:
            raise KexecRefused(
                f"cannot read {kernel.id} into memory", error.strerror or str(error)
            ) from error
        if initrd_fd is not None:
            keep(initrd_fd)
        method = loader.load(linux_fd, initrd_fd, line)
    return Target(
        kernel=kernel.id,
        release=image.release,
        image=str(kernel.image),
        image_sha256=digest,
        initrds=names,
        cmdline=line,
        token=request.token,
        method=method,
    )


def _keep_loaders_words(request: Request) -> None:
    """For the boot after the jump; without them it takes its own, which are most of them."""
    if not request.token:
        return
    try:
        write_durably(paths.LOADER_CMDLINE, cmdline.keep_loaders(request.token))
    except OSError as error:
        log.warning("the boot loader's command line cannot be kept: %s", error)


def _open_initrd(path: Path, config: KernelConfig) -> int:
    ours = f"/{paths.LEAN_INITRDS.relative_to(paths.ROOT)}"
    fd = verify.open_trusted(path, (*config.allowed_folders, ours))
    if not os.fstat(fd).st_size:
        os.close(fd)
        raise BadKernel(f"{path} is empty", "", "make it again, with update-initramfs or dracut")
    return fd


def _command_line(kernel: Kernel, image: Image, request: Request, config: KernelConfig) -> str:
    """The kernel's own with what this one jump needs.  Raises BadKernel when it is too long."""
    words = cmdline.split(kernel.cmdline)
    asked = cmdline.check(request.append)
    tuned: list[str] = []
    # Without a token the boot after cannot tell these from the boot loader's: they would stay.
    if config.tune and request.token:
        build = features.find_config(image.release)
        removed = [word for text in config.cmdline_remove for word in cmdline.split(text)]
        wanted = [*pmem.modules(), *pci.network_modules()]
        wanted += criu.MODULES if Path(criu.CRIU).exists() else ()
        loadable = modules.loadable(image.release, wanted)
        tuned = tuning.words([*asked, *words], removed, build, loadable)
    needed = [f"{cmdline.TOKEN}={request.token}"] if request.token else []
    if numbers := pids.next_boot():
        pid_max, last_pid = numbers
        # A new kernel begins with a pid_max of 32768 (or 1024 a CPU) and refuses an ns_last_pid
        # above it; the words take effect in their order (do_sysctl_args, pid_ns_ctl_handler).
        words = cmdline.remove(words, (cmdline.PID_MAX,))
        needed += [f"{cmdline.PID_MAX}={pid_max}", f"{cmdline.LAST_PID}={last_pid}"]
    line = " ".join(cmdline.add(words, [*asked, *tuned, *needed]))
    if _length(line) > image.cmdline_size:
        line = " ".join(cmdline.add(words, [*asked, *needed]))
    if _length(line) > image.cmdline_size:
        raise BadKernel(
            f"the command line for {kernel.id} is too long",
            f"it has {_length(line)} bytes, this kernel takes {image.cmdline_size}",
            "shorten it: see cmdline_remove of the configuration",
        )
    return line


def _length(line: str) -> int:
    """In bytes, with the NUL at its end."""
    return len(line.encode()) + 1


def _disarm_after(error: BaseException) -> None:
    """Take out what is loaded; when that fails, say so with the error that led here."""
    try:
        unstage()
    except KexecRefused as second:
        raise KexecRefused(
            f"{error}; and what was loaded before is still armed", str(second), second.hint
        ) from error
