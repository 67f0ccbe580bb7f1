# SPDX-License-Identifier: LGPL-2.1-or-later
"""Loading a kernel for kexec and taking it out again.

Source: kexec_file_load(2), kexec(8), Documentation/ABI/testing/sysfs-kernel-kexec-kdump,
Documentation/admin-guide/sysctl/kernel.rst; which errno means what: kernel/kexec_file.c.
"""

import errno
import os
import subprocess
from collections.abc import Iterator, Sequence

from liveupdated import paths
from liveupdated.errors import KexecRefused
from liveupdated.kernels.window import Window, to_memory

SYSCALL = "kexec_file_load"
TOOLS = "kexec-tools"
"""The two methods; with the second one the kernel is loaded by kexec_load(2), which checks no
signature and loses what is to be handed over (KHO)."""

_NUMBERS = {"x86_64": 320, "aarch64": 294}
_UNLOAD = 1
_NO_INITRAMFS = 4
_TOOLS_TIMEOUT_S = 300


def load(image_fd: int, initrd_fd: int | None, cmdline: str) -> str:
    """Load the kernel for the next kexec, in the place of one loaded before; return the method.

    Raises KexecRefused; then what was loaded before still is.
    """
    flags = _NO_INITRAMFS if initrd_fd is None else 0
    code = _kexec_file_load(image_fd, -1 if initrd_fd is None else initrd_fd, cmdline, flags)
    method = SYSCALL
    if code == errno.ENOSYS:
        _load_with_tools(image_fd, initrd_fd, cmdline)
        method = TOOLS
    elif code:
        raise refusal(code, "load the kernel")
    if not loaded():
        raise KexecRefused(
            "the kernel was not loaded",
            "the running kernel took it without an error, and says that none is loaded",
            "see the kernel log; another program may have unloaded it",
        )
    return method


def unload() -> None:
    """Take out what is loaded, if anything.  Raises KexecRefused when it is still there after."""
    # Asked first, because each call counts against kernel.kexec_load_limit_reboot.
    if not loaded():
        return
    code = _kexec_file_load(-1, -1, None, _UNLOAD)
    if code == errno.ENOSYS:
        _run_tools("unload the kernel", ["--unload", "--kexec-syscall"], ())
    elif code:
        raise refusal(code, "unload the kernel")
    if loaded():
        raise KexecRefused(
            "the kernel was not unloaded",
            "the running kernel reports no error, and says that one is still loaded",
            "do not reboot before `kexec -u` has taken it out: a reboot may become a kexec",
        )


def loaded() -> bool:
    """Whether a kernel is loaded for kexec, as the running kernel says it.

    Newer kernels have a folder for kexec and keep the old name as a link, older ones have only
    that.  Without either the kernel has no kexec, and nothing can be loaded.
    """
    for name in ("kexec/loaded", "kexec_loaded"):
        try:
            return (paths.ROOT / "sys/kernel" / name).read_text().strip() == "1"
        except FileNotFoundError:
            continue
    return False


def join_initrds(fds: Sequence[int]) -> int | None:
    """One descriptor for all of them, in their order; None for none.  The caller closes it.

    Each starts at a multiple of four, as an uncompressed cpio must; zeros may lie between archives
    (Documentation/driver-api/early-userspace/buffer-format.rst).
    """
    if not fds:
        return None
    if len(fds) == 1:
        return os.dup(fds[0])
    return to_memory("initrds", _joined(fds))


def _joined(fds: Sequence[int]) -> Iterator[bytes]:
    for fd in fds:
        window = Window.whole(fd)
        yield from window.chunks()
        yield bytes(-window.size % 4)


def _kexec_file_load(image_fd: int, initrd_fd: int, cmdline: str | None, flags: int) -> int:
    """The system call; 0 or the errno."""
    number = _NUMBERS.get(os.uname().machine)
    if number is None:
        return errno.ENOSYS
    import ctypes  # noqa: PLC0415 - the daemon only looks whether one is loaded

    text = None if cmdline is None else cmdline.encode()
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    result = call(
        ctypes.c_long(number),
        ctypes.c_int(image_fd),
        ctypes.c_int(initrd_fd),
        ctypes.c_ulong(0 if text is None else len(text) + 1),
        ctypes.c_char_p(text),
        ctypes.c_ulong(flags),
    )
    return ctypes.get_errno() if result else 0


def _load_with_tools(image_fd: int, initrd_fd: int | None, cmdline: str) -> None:
    arguments = ["--load", "--kexec-syscall", f"--command-line={cmdline}"]
    fds = [image_fd]
    if initrd_fd is not None:
        arguments.append(f"--initrd=/proc/self/fd/{initrd_fd}")
        fds.append(initrd_fd)
    _run_tools("load the kernel", [*arguments, f"/proc/self/fd/{image_fd}"], fds)


def _run_tools(deed: str, arguments: list[str], fds: Sequence[int]) -> None:
    try:
        done = subprocess.run(
            ["kexec", *arguments],
            pass_fds=fds,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TOOLS_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise KexecRefused(
            f"cannot {deed}",
            "the running kernel has no kexec_file_load (CONFIG_KEXEC_FILE), and kexec-tools, which"
            " could do without, is not installed",
            "install kexec-tools; or boot, the ordinary way, a kernel with CONFIG_KEXEC_FILE",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise KexecRefused(
            f"cannot {deed}", f"kexec-tools did not come to an end in {_TOOLS_TIMEOUT_S} s"
        ) from error
    if done.returncode:
        why = " ".join(done.stderr.split()) or f"kexec ended with status {done.returncode}"
        if lockdown() != "none":
            raise KexecRefused(f"cannot {deed}", f"{why}; {_LOCKED_DOWN}", _UNLOCK)
        raise KexecRefused(
            f"cannot {deed}",
            f"kexec-tools, used because the running kernel has no kexec_file_load, said: {why}",
            "see the kernel log",
        )


# --- errno to sentences ---

_LOCKED_DOWN = "the running kernel is locked down and takes only images that it can verify"
_UNLOCK = (
    "boot with Secure Boot off, or without lockdown= on the command line; or use a kernel image"
    " signed with a key that the running kernel trusts"
)
_SIGN = (
    "use the distribution's signed image, or enrol the key it is signed with"
    " (mokutil --import KEY.der)"
)
_ENFORCED = "the running kernel takes only signed images (CONFIG_KEXEC_SIG_FORCE or lockdown)"
_REASONS: dict[int, tuple[str, str]] = {
    errno.ENOKEY: (
        f"{_ENFORCED}, and it does not have the key that this one is signed with",
        _SIGN,
    ),
    errno.EKEYREJECTED: (
        f"{_ENFORCED}, and the signature does not fit: the image was altered, or the key revoked",
        "reinstall the kernel's package",
    ),
    errno.EKEYREVOKED: (f"{_ENFORCED}, and the key of this one's signature is revoked", _SIGN),
    errno.EKEYEXPIRED: (f"{_ENFORCED}, and the key of this one's signature has expired", _SIGN),
    errno.ENODATA: (f"{_ENFORCED}, and this one has no signature", _SIGN),
    errno.ENOPKG: (
        f"{_ENFORCED}, and it does not know the algorithm of this one's signature",
        _SIGN,
    ),
    errno.EBADMSG: (
        f"{_ENFORCED}, and the signature of this one is broken",
        "reinstall the kernel's package",
    ),
    errno.ENOMEM: (
        "there is not enough memory for the kernel and its initrd",
        "free some memory: they need their size twice over for a moment",
    ),
    errno.EADDRNOTAVAIL: (
        "there is no stretch of memory that is long enough for the kernel and its initrd",
        "free some memory, or make the initrd smaller",
    ),
    errno.ENOEXEC: (
        "the running kernel does not recognise it as an image that it can start",
        "see the kernel log for what it misses; a kernel for another architecture, one without"
        " CONFIG_RELOCATABLE, or one without 5-level paging where that is in use cannot be started",
    ),
    errno.EINVAL: (
        "the running kernel finds the command line, the initrd or the image malformed",
        "see the kernel log; a command line that is too long for the new kernel is one cause",
    ),
    errno.EBUSY: (
        "another program is loading or unloading a kernel at this moment",
        "try again",
    ),
    errno.ETXTBSY: (
        "another program has the image or the initrd open for writing",
        "wait until the package manager has finished",
    ),
    errno.EFBIG: ("the image or the initrd is too big for the running kernel", "make it smaller"),
    errno.ENOSYS: (
        "the running kernel has no kexec_file_load (CONFIG_KEXEC_FILE)",
        "install kexec-tools; or boot, the ordinary way, a kernel with CONFIG_KEXEC_FILE",
    ),
    errno.EIO: ("the image or the initrd cannot be read from its disk", "see the kernel log"),
}


def refusal(code: int, deed: str) -> KexecRefused:
    """The error for an errno of kexec_file_load(2); `deed` as in "cannot load the kernel"."""
    if code == errno.EPERM:
        why, hint = _not_permitted()
    else:
        why, hint = _REASONS.get(code, (os.strerror(code), "see the kernel log"))
    name = errno.errorcode.get(code, str(code))
    return KexecRefused(f"cannot {deed} ({name})", why, hint)


def _not_permitted() -> tuple[str, str]:
    """EPERM has four causes, told apart by what the kernel shows of each."""
    if _sysctl("kexec_load_disabled") == "1":
        return (
            "kexec is switched off until the next boot (kernel.kexec_load_disabled=1)",
            "it cannot be switched on again: remove the setting from /etc/sysctl.d and reboot",
        )
    if _sysctl("kexec_load_limit_reboot") == "0":
        return (
            "the number of kernels that may be loaded in one boot is used up"
            " (kernel.kexec_load_limit_reboot=0; a failed load counts, too)",
            "it cannot be raised again: change the setting in /etc/sysctl.d and reboot",
        )
    mode = lockdown()
    if mode != "none":
        return f"{_LOCKED_DOWN} (lockdown={mode})", _UNLOCK
    return (
        "the kernel does not permit it, and neither kexec_load_disabled, nor a load limit, nor"
        " lockdown is the cause",
        "this needs CAP_SYS_BOOT, which root in a container does not have; SELinux or another"
        " security module may also forbid it: see the audit log",
    )


def lockdown() -> str:
    """`none`, `integrity` or `confidentiality`.  Source: kernel_lockdown(7)."""
    try:
        text = (paths.ROOT / "sys/kernel/security/lockdown").read_text()
    except OSError:
        return "none"
    _, _, rest = text.partition("[")
    return rest.partition("]")[0] or "none"


def _sysctl(name: str) -> str:
    try:
        return (paths.ROOT / "proc/sys/kernel" / name).read_text().strip()
    except OSError:
        return ""
