# SPDX-License-Identifier: LGPL-2.1-or-later
"""No kernel is loaded here, for tests must not arm the machine they run on: the system call is
replaced by one that answers what the test says.  tests/vm loads true ones."""

import errno
import os
from pathlib import Path

import pytest

from liveupdated.errors import KexecRefused
from liveupdated.kernels import loader
from liveupdated.kernels.window import to_memory
from tests.unit.kernels.fabricate import put


class Syscall:
    """kexec_file_load(2) of a kernel that answers `code` and then says `after` in `loaded`."""

    def __init__(self, root: Path, code: int = 0, after: str | None = None) -> None:
        self.root = root
        self.code = code
        self.after = after
        self.calls: list[tuple[int, int, str | None, int]] = []

    def __call__(self, image: int, initrd: int, cmdline: str | None, flags: int) -> int:
        self.calls.append((image, initrd, cmdline, flags))
        if self.after is not None:
            put(self.root / "sys/kernel/kexec_loaded", self.after + "\n")
        return self.code


@pytest.fixture
def kernel(root: Path, monkeypatch: pytest.MonkeyPatch) -> Syscall:
    syscall = Syscall(root)
    monkeypatch.setattr(loader, "_kexec_file_load", syscall)
    return syscall


def test_load(kernel: Syscall) -> None:
    kernel.after = "1"
    assert loader.load(7, 8, "root=/dev/vda") == "kexec_file_load"
    assert kernel.calls == [(7, 8, "root=/dev/vda", 0)]


def test_load_without_initrd(kernel: Syscall) -> None:
    kernel.after = "1"
    loader.load(7, None, "")
    assert kernel.calls == [(7, -1, "", 4)]


def test_load_that_the_kernel_does_not_know_of(kernel: Syscall) -> None:
    kernel.after = "0"
    with pytest.raises(KexecRefused, match="says that none is loaded"):
        loader.load(7, None, "")


def test_unload(kernel: Syscall, root: Path) -> None:
    put(root / "sys/kernel/kexec_loaded", "1\n")
    kernel.after = "0"
    loader.unload()
    assert kernel.calls == [(-1, -1, None, 1)]


def test_unload_of_nothing_does_not_use_up_the_limit(kernel: Syscall) -> None:
    loader.unload()
    assert kernel.calls == []


def test_unload_that_did_nothing(kernel: Syscall, root: Path) -> None:
    put(root / "sys/kernel/kexec_loaded", "1\n")
    with pytest.raises(KexecRefused, match="still loaded"):
        loader.unload()


def test_both_places_of_the_loaded_file(root: Path) -> None:
    assert not loader.loaded()
    put(root / "sys/kernel/kexec_loaded", "1\n")
    assert loader.loaded()
    put(root / "sys/kernel/kexec/loaded", "0\n")
    assert not loader.loaded()


def test_kernel_without_kexec_has_nothing_loaded(root: Path) -> None:
    (root / "sys/kernel/kexec_loaded").unlink()
    assert not loader.loaded()


CASES = [
    (errno.ENOKEY, "does not have the key"),
    (errno.EKEYREJECTED, "altered"),
    (errno.ENODATA, "has no signature"),
    (errno.ENOMEM, "not enough memory"),
    (errno.EADDRNOTAVAIL, "no stretch of memory"),
    (errno.ENOEXEC, "does not recognise"),
    (errno.EINVAL, "malformed"),
    (errno.EBUSY, "another program"),
    (errno.ETXTBSY, "open for writing"),
    (errno.EPERM, "CAP_SYS_BOOT"),
    (errno.ENOTTY, "Inappropriate ioctl"),
]


@pytest.mark.parametrize(("code", "words"), CASES)
def test_every_errno_has_its_sentence(kernel: Syscall, code: int, words: str) -> None:
    kernel.code = code
    with pytest.raises(KexecRefused) as caught:
        loader.load(7, None, "")
    error = caught.value
    assert errno.errorcode[code] in error.what
    assert words in f"{error.why} {error.hint}"
    assert error.hint


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("proc/sys/kernel/kexec_load_disabled", "1\n", "kernel.kexec_load_disabled=1"),
        ("proc/sys/kernel/kexec_load_limit_reboot", "0\n", "used up"),
        ("sys/kernel/security/lockdown", "none [integrity] confidentiality\n", "lockdown=integ"),
    ],
)
def test_the_causes_of_eperm_are_told_apart(root: Path, name: str, text: str, words: str) -> None:
    put(root / "proc/sys/kernel/kexec_load_disabled", "0\n")
    put(root / "proc/sys/kernel/kexec_load_limit_reboot", "-1\n")
    put(root / "sys/kernel/security/lockdown", "[none] integrity confidentiality\n")
    assert "CAP_SYS_BOOT" in loader.refusal(errno.EPERM, "load").hint
    put(root / name, text)
    error = loader.refusal(errno.EPERM, "load")
    assert words in error.why
    assert error.hint


def test_initrds_are_joined_in_order_and_aligned() -> None:
    parts = [b"micro", b"initrd", b"four"]
    fds = [to_memory("test", [part]) for part in parts]
    joined = loader.join_initrds(fds)
    assert joined is not None
    assert os.read(joined, 100) == b"micro\0\0\0initrd\0\0four"
    for fd in [*fds, joined]:
        os.close(fd)


def test_one_initrd_is_taken_as_it_is_and_none_is_none() -> None:
    fd = to_memory("test", [b"initrd"])
    joined = loader.join_initrds([fd])
    assert joined is not None and os.path.sameopenfile(fd, joined)
    os.close(fd)
    os.close(joined)
    assert loader.join_initrds([]) is None


KEXEC = """#!/bin/sh
echo "$@" > "$LOG"
for last; do :; done
/bin/cat "$last" >> "$LOG"
printf '%s' "$SAYS" >&2
echo 1 > "$LOADED"
exit ${STATUS:-0}
"""


@pytest.fixture
def tools(kernel: Syscall, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kernel without kexec_file_load, and a `kexec` that writes down what it is asked."""
    kernel.code = errno.ENOSYS
    put(root / "bin/kexec", KEXEC, 0o755)
    monkeypatch.setenv("PATH", f"{root}/bin")
    monkeypatch.setenv("LOG", str(root / "log"))
    monkeypatch.setenv("LOADED", str(root / "sys/kernel/kexec_loaded"))
    monkeypatch.setenv("SAYS", "")
    return root


def test_kexec_tools_where_the_kernel_lacks_the_call(tools: Path) -> None:
    image, initrd = to_memory("test", [b"the image"]), to_memory("test", [b"initrd"])
    assert loader.load(image, initrd, "root=/dev/vda ro") == "kexec-tools"
    said, content = (tools / "log").read_text().splitlines()
    assert said == (
        "--load --kexec-syscall --command-line=root=/dev/vda ro"
        f" --initrd=/proc/self/fd/{initrd} /proc/self/fd/{image}"
    )
    assert content == "the image"
    os.close(image)
    os.close(initrd)


def test_what_kexec_tools_says_is_passed_on(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATUS", "255")
    monkeypatch.setenv("SAYS", "Cannot determine the file type")
    image = to_memory("test", [b"x"])
    with pytest.raises(KexecRefused, match="Cannot determine the file type"):
        loader.load(image, None, "")
    os.close(image)


def test_neither_the_call_nor_kexec_tools(tools: Path) -> None:
    (tools / "bin/kexec").unlink()
    with pytest.raises(KexecRefused, match="install kexec-tools"):
        loader.load(0, None, "")
