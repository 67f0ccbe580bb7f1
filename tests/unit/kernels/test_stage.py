# SPDX-License-Identifier: LGPL-2.1-or-later
import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from liveupdated import criu, paths, pci
from liveupdated.errors import (
    BadKernel,
    Blocked,
    InvalidArgument,
    KexecRefused,
    LiveUpdateError,
    NotFound,
)
from liveupdated.kernels import KernelConfig, blocked, loader
from liveupdated.session import Target
from liveupdated.update import stage
from liveupdated.update.stage import Request
from tests.unit.kernels.fabricate import arm64, bzimage, put, uki

TOKEN = "0123456789abcdef0123456789abcdef"
CONFIG = KernelConfig()


class Host:
    """A kernel that can kexec: what is loaded, as it got it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.code = 0
        self.image = b""
        self.initrd: bytes | None = None
        self.cmdline = ""

    def __call__(self, image: int, initrd: int, cmdline: str | None, flags: int) -> int:
        if self.code:
            return self.code
        if flags & 1:
            self._say("0")
            return 0
        self.image = os.pread(image, 1 << 20, 0)
        self.initrd = None if flags & 4 else os.pread(initrd, 1 << 20, 0)
        self.cmdline = cmdline or ""
        self._say("1")
        return 0

    def _say(self, text: str) -> None:
        put(self.root / "sys/kernel/kexec_loaded", text + "\n")

    @property
    def armed(self) -> bool:
        return loader.loaded()


@pytest.fixture
def host(root: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host(root)
    monkeypatch.setattr(loader, "_kexec_file_load", host)
    monkeypatch.setattr(pci, "SYS", root / "sys")
    put(root / "boot/vmlinuz-6.18.1", bzimage("6.18.1"))
    put(root / "boot/initrd.img-6.18.1", "initrd of 6.18.1")
    return host


def refused(kernel: str) -> LiveUpdateError:
    """The error of staging that kernel while another one is staged; nothing is armed after it."""
    stage.run(Request("6.18.1"), CONFIG)
    assert loader.loaded() and paths.STAGED.exists()
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(LiveUpdateError) as caught:
        stage.run(Request(kernel), CONFIG)
    assert not loader.loaded()
    assert not paths.STAGED.exists()
    assert len(os.listdir("/proc/self/fd")) == before
    return caught.value


def test_stage(host: Host, root: Path) -> None:
    target = stage.run(Request("6.18.1", "panic=10", TOKEN), CONFIG)
    line = (
        f"root=/dev/vda1 ro quiet panic=10 liveupdated.token={TOKEN}"
        " sysctl.kernel.pid_max=4194304 sysctl.kernel.ns_last_pid=105000"
    )
    assert target == Target(
        kernel="6.18.1",
        release="6.18.1",
        image=str(root / "boot/vmlinuz-6.18.1"),
        image_sha256=hashlib.sha256(bzimage("6.18.1")).hexdigest(),
        initrds=[str(root / "boot/initrd.img-6.18.1")],
        cmdline=line,
        token=TOKEN,
        method="kexec_file_load",
    )
    assert (host.armed, host.image, host.initrd, host.cmdline) == (
        True,
        bzimage("6.18.1"),
        b"initrd of 6.18.1",
        line,
    )
    assert Target(**json.loads(paths.STAGED.read_bytes())) == target
    assert paths.STAGED.stat().st_mode & 0o077 == 0


def test_words_for_the_kernel_stay_before_those_for_init(host: Host, root: Path) -> None:
    put(root / "proc/cmdline", "root=/dev/vda1 sysctl.kernel.pid_max=65536 -- single")
    target = stage.run(Request("6.18.1", token=TOKEN), CONFIG)
    words = target.cmdline.split()
    assert words[0] == "root=/dev/vda1"
    assert words[-2:] == ["--", "single"]
    assert words.count("sysctl.kernel.pid_max=65536") == 0
    assert words.index("sysctl.kernel.pid_max=4194304") < words.index(
        "sysctl.kernel.ns_last_pid=105000"
    )


def test_all_initrds_of_an_entry_are_passed(host: Host, root: Path) -> None:
    put(root / "boot/ucode.img", "micro")
    put(
        root / "boot/loader/entries/e.conf",
        "linux /vmlinuz-6.18.1\ninitrd /ucode.img\ninitrd /initrd.img-6.18.1\noptions a=b\n",
    )
    target = stage.run(Request(), CONFIG)
    assert host.initrd == b"micro\0\0\0initrd of 6.18.1"
    assert [Path(path).name for path in target.initrds] == ["ucode.img", "initrd.img-6.18.1"]
    assert target.cmdline.startswith("a=b ")


def test_unified_kernel_image(host: Host, root: Path) -> None:
    linux = bzimage("7.0.0")
    path = put(
        root / "efi/EFI/Linux/a.efi", uki(linux, ucode=b"micro", initrd=b"in", cmdline="u=1")
    )
    target = stage.run(Request("7.0.0"), CONFIG)
    assert host.image == linux
    assert host.initrd == b"micro\0\0\0in\0\0"
    assert target.cmdline.startswith("u=1 ")
    assert target.initrds == [f"{path}:.ucode", f"{path}:.initrd"]
    assert target.image_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_newest_that_is_not_blocked(host: Host, root: Path) -> None:
    put(root / "boot/vmlinuz-7.0.0", bzimage("7.0.0"))
    put(root / "boot/initrd.img-7.0.0", "initrd")
    assert stage.run(Request(), CONFIG).kernel == "7.0.0"
    put(paths.BLOCKED_KERNELS, json.dumps({"7.0.0": "it hung in initrd"}))
    assert stage.run(Request(), CONFIG).kernel == "6.18.1"
    error = refused("7.0.0")
    assert isinstance(error, Blocked)
    assert error.what == "kernel 7.0.0 is blocked"
    assert error.why == "it hung in initrd"
    blocked.remove("7.0.0")
    assert stage.run(Request(), CONFIG).kernel == "7.0.0"
    with pytest.raises(NotFound, match="not blocked"):
        blocked.remove("7.0.0")


@pytest.mark.parametrize("text", ["[]", "{", ""])
def test_list_of_blocked_kernels_that_cannot_be_read(host: Host, text: str) -> None:
    put(paths.BLOCKED_KERNELS, text)
    with pytest.raises(BadKernel, match="list of blocked kernels"):
        stage.run(Request(), CONFIG)


# --- the refusals: a clear error, nothing armed ---


def test_text_file(host: Host, root: Path) -> None:
    put(root / "boot/vmlinuz-9.9", "not a kernel\n" * 200)
    assert "no kernel image" in str(refused("9.9"))


def test_truncated_bzimage(host: Host, root: Path) -> None:
    put(root / "boot/vmlinuz-9.9", bzimage("9.9")[:-1000])
    assert "truncated" in str(refused("9.9"))


def test_another_architecture(host: Host, root: Path) -> None:
    put(root / "boot/vmlinuz-9.9", arm64("9.9"))
    assert "aarch64" in str(refused("9.9"))


def test_image_that_others_can_write_to(host: Host, root: Path) -> None:
    put(root / "boot/vmlinuz-9.9", bzimage("9.9"), 0o666)
    error = refused("9.9")
    assert isinstance(error, BadKernel)
    assert "can write to it" in str(error)


def test_link_out_of_the_allowed_folder(host: Host, root: Path) -> None:
    put(root / "home/mallory/x", bzimage("9.9"))
    (root / "boot/vmlinuz-9.9").symlink_to(root / "home/mallory/x")
    assert "not in one of the folders" in str(refused("9.9"))


def test_unknown_kernel(host: Host) -> None:
    error = refused("1.2.3")
    assert isinstance(error, NotFound)
    assert "1.2.3" in error.what


def test_initrd_that_others_can_write_to(host: Host, root: Path) -> None:
    put(root / "boot/vmlinuz-9.9", bzimage("9.9"))
    put(root / "boot/initrd.img-9.9", "initrd", 0o666)
    assert "initrd.img-9.9" in str(refused("9.9"))


def test_empty_initrd(host: Host, root: Path) -> None:
    put(root / "boot/vmlinuz-9.9", bzimage("9.9"))
    put(root / "boot/initrd.img-9.9", "")
    assert "is empty" in str(refused("9.9"))


def test_command_line_that_is_too_long(host: Host, root: Path) -> None:
    put(root / "boot/vmlinuz-9.9", bzimage("9.9", cmdline_size=40))
    put(root / "boot/initrd.img-9.9", "initrd")
    assert "too long" in str(refused("9.9"))


def test_kernel_refuses(host: Host, root: Path) -> None:
    host.code = errno.EKEYREJECTED
    with pytest.raises(KexecRefused, match="EKEYREJECTED"):
        stage.run(Request("6.18.1"), CONFIG)
    assert not host.armed
    assert not paths.STAGED.exists()


def test_what_cannot_be_disarmed_is_said(host: Host, root: Path) -> None:
    stage.run(Request("6.18.1"), CONFIG)
    put(root / "proc/sys/kernel/kexec_load_disabled", "1\n")
    host.code = errno.EPERM
    with pytest.raises(KexecRefused, match="still armed") as caught:
        stage.run(Request("6.18.1"), CONFIG)
    assert "kexec_load_disabled" in str(caught.value)
    assert not paths.STAGED.exists()


def test_record_that_cannot_be_written_disarms(host: Host, root: Path) -> None:
    put(root / "run/liveupdated", "a file where the folder should be")
    with pytest.raises(OSError):
        stage.run(Request("6.18.1"), CONFIG)
    assert not host.armed


def test_unstage(host: Host) -> None:
    stage.run(Request("6.18.1"), CONFIG)
    stage.unstage()
    assert not host.armed
    assert not paths.STAGED.exists()
    stage.unstage()


# --- the request ---


def test_request_is_read(root: Path) -> None:
    put(paths.STAGE_REQUEST, json.dumps({"kernel": "a", "append": "ro", "token": TOKEN}))
    assert stage.read_request() == Request("a", "ro", TOKEN)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"kernel": 1}',
        '{"kernel": "a", "nonsense": ""}',
        '{"token": "root=/dev/sdb"}',
        '{"append": "a\\nb"}',
        '{"append": "dyndbg=\\"x"}',
    ],
)
def test_request_that_is_none(text: str) -> None:
    put(paths.STAGE_REQUEST, text)
    with pytest.raises(InvalidArgument):
        stage.read_request()


def test_what_was_for_one_jump_is_not_handed_on(host: Host) -> None:
    paths.STATE.mkdir(parents=True)
    added = KernelConfig(cmdline_add=("quiet", "panic=10"), cmdline_remove=("ro",))
    put(host.root / "proc/cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/vda1 ro\n")
    second = TOKEN[::-1]
    for token in (TOKEN, second):
        stage.run(Request("6.18.1", "initcall_debug", token), added)
        words = host.cmdline.split()
        assert words[:4] == ["root=/dev/vda1", "quiet", "panic=10", "initcall_debug"]
        put(host.root / "proc/cmdline", host.cmdline + "\n")
    # Staged for a jump that did not happen: this boot is still the one it was.
    stage.run(Request("6.18.1", "", "f" * 32), added)
    stage.run(Request("6.18.1", "", "e" * 32), CONFIG)
    assert host.cmdline.split()[:2] == ["root=/dev/vda1", "ro"]
    assert "initcall_debug" not in host.cmdline and "panic" not in host.cmdline


def test_without_room_for_the_loaders_words_it_is_staged_all_the_same(host: Host) -> None:
    paths.LOADER_CMDLINE.mkdir(parents=True)
    assert stage.run(Request("6.18.1", "", TOKEN), CONFIG).token == TOKEN


def test_tuning_is_for_the_jump_alone(host: Host) -> None:
    paths.STATE.mkdir(parents=True)
    put(host.root / "proc/cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/vda1 ro\n")
    put(host.root / "boot/config-6.18.1", "CONFIG_HOTPLUG_PARALLEL=y\n")
    tuned = ["root=/dev/vda1", "ro", "quiet", "cpuhp.parallel=1"]
    assert stage.run(Request("6.18.1", "", TOKEN), CONFIG).cmdline.split()[:4] == tuned
    put(host.root / "proc/cmdline", host.cmdline + "\n")
    untuned = KernelConfig(tune=False)
    assert stage.run(Request("6.18.1", "", "e" * 32), untuned).cmdline.split()[:2] == tuned[:2]
    assert "quiet" not in host.cmdline and "cpuhp" not in host.cmdline


def test_what_criu_asks_for_is_loaded_early_where_the_new_kernel_has_it(
    host: Host, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(root / "proc/cmdline", "root=/dev/vda1 ro\n")
    put(root / "usr/lib/modules/6.18.1/modules.dep", "kernel/net/unix/unix_diag.ko.xz:\n")
    for tool, there in ((root / "proc/cmdline", True), (root / "criu", False)):
        monkeypatch.setattr(criu, "CRIU", str(tool))
        found = stage.run(Request("6.18.1", "", TOKEN), CONFIG).cmdline.split()
        assert ("modules_load=unix_diag" in found) == there


def test_without_a_token_nothing_is_tuned(host: Host) -> None:
    put(host.root / "proc/cmdline", "root=/dev/vda1 ro\n")
    assert "quiet" not in stage.run(Request("6.18.1"), CONFIG).cmdline


def test_tuning_does_not_outdo_the_request(host: Host) -> None:
    put(host.root / "proc/cmdline", "root=/dev/vda1 ro\n")
    target = stage.run(Request("6.18.1", "loglevel=7", TOKEN), CONFIG)
    assert "quiet" not in target.cmdline


def test_tuning_gives_way_where_there_is_no_room(host: Host, root: Path) -> None:
    put(root / "proc/cmdline", "root=/dev/vda1 ro\n")
    with_all = stage.run(Request("6.18.1", "", TOKEN), CONFIG).cmdline
    put(root / "boot/vmlinuz-6.18.1", bzimage("6.18.1", cmdline_size=len(with_all) + 1))
    assert stage.run(Request("6.18.1", "", TOKEN), CONFIG).cmdline == with_all
    put(root / "boot/vmlinuz-6.18.1", bzimage("6.18.1", cmdline_size=len(with_all)))
    without = stage.run(Request("6.18.1", "", TOKEN), CONFIG).cmdline
    assert without == with_all.replace(" quiet", "")
