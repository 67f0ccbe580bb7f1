# SPDX-License-Identifier: LGPL-2.1-or-later
import logging
import os
import time
from pathlib import Path

import pytest

from liveupdated.errors import NotFound
from liveupdated.kernels import KernelConfig
from liveupdated.kernels.catalogue import Kernel, choose, list_kernels, newest
from tests.unit.kernels.conftest import RUNNING
from tests.unit.kernels.fabricate import arm64, bzimage, put, uki

CONFIG = KernelConfig()
RUNNING_LINE = "root=/dev/vda1 ro quiet"


def ids() -> list[str]:
    return [kernel.id for kernel in list_kernels(CONFIG)]


def only() -> Kernel:
    (kernel,) = list_kernels(CONFIG)
    return kernel


def debian(root: Path, release: str, *, initrd: bool = True) -> Path:
    if initrd:
        put(root / f"boot/initrd.img-{release}", f"initrd of {release}")
    return put(root / f"boot/vmlinuz-{release}", bzimage(release))


def entry(root: Path, name: str, text: str, boot: str = "boot") -> Path:
    return put(root / boot / f"loader/entries/{name}.conf", text)


def test_empty_host(root: Path) -> None:
    assert list_kernels(CONFIG) == []


def test_debian(root: Path) -> None:
    debian(root, RUNNING)
    debian(root, "7.3.4+deb13-cloud-amd64")
    put(root / "boot/config-7.3.4+deb13-cloud-amd64", "CONFIG_KEXEC_FILE=y\n")
    (root / "boot/vmlinuz").symlink_to(f"vmlinuz-{RUNNING}")
    put(root / "boot/vmlinuz-7.3.4+deb13-cloud-amd64.dpkg-tmp", b"half a file")
    new, old = list_kernels(CONFIG)
    assert new.id == new.release == "7.3.4+deb13-cloud-amd64"
    assert new.initrds == (root / "boot/initrd.img-7.3.4+deb13-cloud-amd64",)
    assert (new.source, new.kind, new.arch) == ("debian", "bzimage", "x86_64")
    assert new.cmdline == RUNNING_LINE
    assert (new.problems, new.warnings) == ((), ())
    assert new.features.kexec_file is True
    assert (new.running, old.running) == (False, True)
    assert old.features.kexec_file is None


def test_fedora_without_its_rescue_kernel(root: Path) -> None:
    for name in ("6.18.1-300.fc43.x86_64", "0-rescue-6a98"):
        put(root / f"boot/vmlinuz-{name}", bzimage("6.18.1-300.fc43.x86_64"))
        put(root / f"boot/initramfs-{name}.img", "initrd")
    kernel = only()
    assert kernel.source == "fedora"
    assert kernel.initrds == (root / "boot/initramfs-6.18.1-300.fc43.x86_64.img",)


def test_arch_names_no_version(root: Path) -> None:
    put(root / "boot/vmlinuz-linux-lts", bzimage("6.12.63-1-lts"))
    put(root / "boot/initramfs-linux-lts.img", "initrd")
    put(root / "boot/initramfs-linux-lts-fallback.img", "initrd")
    put(root / "boot/intel-ucode.img", "microcode")
    kernel = only()
    assert (kernel.id, kernel.source) == ("6.12.63-1-lts", "arch")
    assert kernel.initrds == (
        root / "boot/intel-ucode.img",
        root / "boot/initramfs-linux-lts.img",
    )


def test_kernel_beside_its_modules(root: Path) -> None:
    put(root / "usr/lib/modules/7.3.4/vmlinuz", bzimage("7.3.4"))
    put(root / "usr/lib/modules/7.3.4/config", "CONFIG_KEXEC_FILE=y\n")
    put(root / "boot/initrd.img-7.3.4", "initrd")
    kernel = only()
    assert (kernel.id, kernel.source) == ("7.3.4", "modules")
    assert kernel.initrds == (root / "boot/initrd.img-7.3.4",)
    assert kernel.features.kexec_file is True


def test_boot_entry_with_several_initrds_in_order(root: Path) -> None:
    put(root / "boot/6a98/6.18.1/linux", bzimage("6.18.1"))
    put(root / "boot/zz-ucode", "microcode")
    put(root / "boot/6a98/6.18.1/initrd", "initrd")
    path = entry(
        root,
        "6a98-6.18.1",
        "linux /6a98/6.18.1/linux\ninitrd /zz-ucode\ninitrd 6a98/6.18.1/initrd\n"
        "options root=/dev/sdx\noptions quiet\n",
    )
    kernel = only()
    assert (kernel.id, kernel.source, kernel.entry) == ("6.18.1", "bls1", path)
    assert kernel.initrds == (root / "boot/zz-ucode", root / "boot/6a98/6.18.1/initrd")
    assert kernel.cmdline == "root=/dev/sdx quiet"
    assert kernel.problems == ()


@pytest.mark.parametrize("boot", ["boot", "boot/efi", "efi"])
def test_unified_kernel_image(root: Path, boot: str) -> None:
    put(root / boot / "EFI/Linux/arch+3.efi", uki(bzimage("6.18.2"), cmdline="root=/dev/sdu"))
    kernel = only()
    assert (kernel.id, kernel.kind, kernel.source) == ("6.18.2", "uki", "uki")
    assert kernel.cmdline == "root=/dev/sdu"
    assert (kernel.problems, kernel.warnings) == ((), ())


def test_paths_of_an_entry_may_count_from_the_root_folder(root: Path) -> None:
    debian(root, "6.18.1")
    entry(root, "e", "linux /boot/vmlinuz-6.18.1\noptions from=entry\n")
    kernel = only()
    assert kernel.cmdline == "from=entry"
    assert kernel.initrds == (root / "boot/initrd.img-6.18.1",)


def test_entries_of_another_system_or_architecture_are_left_out(root: Path) -> None:
    put(root / "etc/machine-id", "1" * 32 + "\n")
    put(root / "boot/linux", bzimage())
    entry(root, "theirs", f"linux /linux\nmachine-id {'2' * 32}\n")
    entry(root, "arm", "linux /linux\narchitecture aa64\n")
    assert list_kernels(CONFIG) == []
    entry(root, "ours", f"linux /linux\nmachine-id {'1' * 32}\narchitecture X64\n")
    assert ids() == [RUNNING]


def test_other_efi_programs_are_left_out(root: Path) -> None:
    put(root / "boot/EFI/memtest/memtest.efi", uki())
    entry(root, "memtest", "efi /EFI/memtest/memtest.efi\n")
    assert list_kernels(CONFIG) == []


def test_entry_that_others_can_write_to_is_not_believed(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    debian(root, "6.18.1")
    entry(root, "evil", "linux /vmlinuz-6.18.1\noptions init=/tmp/x\n").chmod(0o666)
    with caplog.at_level(logging.WARNING):
        assert only().cmdline == RUNNING_LINE
    assert "evil.conf" in caplog.text and "can write" in caplog.text


# --- one kernel by several roads ---


def test_same_file_by_name_entry_and_hard_link_is_one_kernel(root: Path) -> None:
    image = debian(root, "7.3.4")
    (root / "usr/lib/modules/7.3.4").mkdir(parents=True)
    os.link(image, root / "usr/lib/modules/7.3.4/vmlinuz")
    entry(root, "e", "linux /vmlinuz-7.3.4\noptions root=/dev/sde\n")
    kernel = only()
    assert kernel.image == image
    assert kernel.cmdline == "root=/dev/sde"
    assert kernel.initrds == (root / "boot/initrd.img-7.3.4",)


def test_copy_with_the_same_content_is_one_kernel(root: Path) -> None:
    put(root / "usr/lib/modules/6.18.1/vmlinuz", bzimage("6.18.1"))
    put(root / "boot/6a98/6.18.1/linux", bzimage("6.18.1"))
    put(root / "boot/6a98/6.18.1/initrd", "initrd")
    entry(root, "e", "linux /6a98/6.18.1/linux\ninitrd /6a98/6.18.1/initrd\noptions a=b\n")
    kernel = only()
    assert kernel.cmdline == "a=b"
    assert kernel.initrds == (root / "boot/6a98/6.18.1/initrd",)
    assert kernel.source == "bls1"


def test_uki_and_the_modules_copy_of_its_kernel_are_one(root: Path) -> None:
    put(root / "usr/lib/modules/6.18.1/vmlinuz", bzimage("6.18.1"))
    image = put(root / "efi/EFI/Linux/fedora.efi", uki(bzimage("6.18.1")))
    kernel = only()
    assert (kernel.id, kernel.image, kernel.warnings) == ("6.18.1", image, ())


def test_two_ukis_of_one_kernel_are_two(root: Path) -> None:
    put(root / "efi/EFI/Linux/arch.efi", uki(bzimage("6.18.1")))
    put(root / "efi/EFI/Linux/arch-fallback.efi", uki(bzimage("6.18.1"), initrd=b"all"))
    assert ids() == ["6.18.1", "6.18.1@arch.efi"]


def test_two_images_of_one_release_have_two_ids(root: Path) -> None:
    debian(root, "6.18.1")
    put(root / "boot/vmlinuz-6.18.1.old", bzimage("6.18.1", build="#0 older"))
    put(root / "boot/initrd.img-6.18.1.old", "initrd")
    assert ids() == ["6.18.1", "6.18.1@vmlinuz-6.18.1.old"]
    assert choose(list_kernels(CONFIG), "6.18.1@vmlinuz-6.18.1.old", {}).build == "#0 older"


def test_preferred_entry_is_the_first_of_the_menu(root: Path) -> None:
    put(root / "boot/vmlinuz-linux", bzimage("6.18.1-arch1"))
    put(root / "boot/a.img", "initrd")
    put(root / "boot/b.img", "initrd")
    entry(root, "arch-fallback", "linux /vmlinuz-linux\ninitrd /b.img\noptions b\n")
    entry(root, "arch", "linux /vmlinuz-linux\ninitrd /a.img\noptions a\n")
    assert only().cmdline == "a"
    assert only().initrds == (root / "boot/a.img",)


# --- what is wrong with some does not hide the others ---


def test_bad_images_are_listed_with_their_problem(root: Path) -> None:
    debian(root, "6.18.1")
    put(root / "boot/vmlinuz-text", "I am a text file, and a long one at that\n" * 50)
    put(root / "boot/vmlinuz-cut", bzimage("7.0")[:3000])
    put(root / "boot/vmlinuz-arm", arm64("7.1"))
    put(root / "boot/vmlinuz-open", bzimage("7.2"), 0o666)
    put(root / "home/mallory/evil", bzimage("7.3"))
    (root / "boot/vmlinuz-link").symlink_to(root / "home/mallory/evil")
    (root / "boot/vmlinuz-gone").symlink_to("nowhere")
    (root / "boot/vmlinuz-folder").mkdir()
    problems = {kernel.id: "; ".join(kernel.problems) for kernel in list_kernels(CONFIG)}
    assert problems.pop("6.18.1") == ""
    assert "no kernel image" in problems["text"]
    assert "truncated" in problems["cut"]
    assert "it is for aarch64, this machine is x86_64" in problems["7.1"]
    assert "others than root can write to it" in problems["open"]
    assert "is a link to" in problems["link"] and "not in one of the folders" in problems["link"]
    assert "No such file" in problems["gone"]
    assert "not a regular file" in problems["folder"]
    assert len(problems) == 7


def test_kernel_that_kexec_cannot_take_says_why(root: Path) -> None:
    put(root / "boot/vmlinuz-1", bzimage("1", relocatable=False))
    assert any("CONFIG_RELOCATABLE" in problem for problem in only().problems)


def test_entry_whose_initrd_is_missing(root: Path) -> None:
    debian(root, "6.18.1")
    entry(root, "e", "linux /vmlinuz-6.18.1\ninitrd /gone.img\noptions a\n")
    assert any("gone.img" in problem for problem in only().problems)


def test_entry_whose_image_is_missing(root: Path) -> None:
    entry(root, "e", "version 6.18.1\nlinux /gone\n")
    assert only().id == "6.18.1"
    assert "No such file" in only().problems[0]


def test_folder_that_cannot_be_read(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    debian(root, "6.18.1")
    (root / "efi").symlink_to("efi")  # ELOOP, which not even root can read through
    with caplog.at_level(logging.WARNING):
        assert ids() == ["6.18.1"]
    assert f"{root}/efi" in caplog.text


# --- without an initrd ---


def test_missing_initrd_is_a_doubt(root: Path) -> None:
    debian(root, "6.18.1", initrd=False)
    kernel = only()
    assert kernel.source == "boot"
    assert (kernel.problems, kernel.warnings) == ((), ("no initrd was found for it",))


def test_kernel_without_modules_needs_no_initrd(root: Path) -> None:
    debian(root, "6.18.1", initrd=False)
    put(root / "boot/config-6.18.1", "# CONFIG_MODULES is not set\n")
    assert (only().problems, only().warnings) == ((), ())


def test_root_by_uuid_needs_an_initrd(root: Path) -> None:
    put(root / "proc/cmdline", "root=UUID=6d3376e4 ro\n")
    debian(root, "6.18.1", initrd=False)
    assert "root=UUID=6d3376e4 needs one" in only().problems[0]


def test_root_on_a_file_system_that_is_a_module_needs_an_initrd(root: Path) -> None:
    debian(root, "6.18.1", initrd=False)
    put(root / "boot/config-6.18.1", "CONFIG_MODULES=y\nCONFIG_XFS_FS=m\n")
    put(root / "proc/self/mountinfo", "22 1 254:1 / / rw,noatime - xfs /dev/vda1 rw\n")
    assert "xfs, the root file system's type, is a module" in only().problems[0]
    put(root / "proc/self/mountinfo", "22 1 254:1 / / rw,noatime shared:1 - ext4 /dev/vda1 rw\n")
    assert only().problems == ()


# --- choosing ---


def test_newest_passes_over_blocked_bad_and_doubtful_ones(root: Path) -> None:
    debian(root, "6.18.1")
    debian(root, "6.18.2")
    debian(root, "6.18.10", initrd=False)
    put(root / "boot/vmlinuz-9", "text")
    kernels = list_kernels(CONFIG)
    assert newest(kernels, {}).id == "6.18.2"
    assert newest(kernels, {"6.18.2": "it hung"}).id == "6.18.1"
    assert newest(kernels, {"6.18.1", "6.18.2"}).id == "6.18.10"
    with pytest.raises(NotFound, match="no kernel to stage"):
        newest(kernels, {"6.18.1", "6.18.2", "6.18.10"})


def test_entry_that_boot_counting_gave_up_is_doubtful(root: Path) -> None:
    put(root / "efi/EFI/Linux/a+0-3.efi", uki())
    assert "boot counting" in only().warnings[0]


def test_add_ons_are_not_passed_over_in_silence(root: Path) -> None:
    put(root / "efi/EFI/Linux/a.efi", uki())
    put(root / "efi/EFI/Linux/a.efi.extra.d/b.addon.efi", b"")
    assert "add-ons" in only().warnings[0]


def test_unknown_id(root: Path) -> None:
    debian(root, "6.18.1")
    with pytest.raises(NotFound, match=r"there is no kernel '6\.18'"):
        choose(list_kernels(CONFIG), "6.18", {})


def test_ids_hold_nothing_odd(root: Path) -> None:
    put(root / "boot/vmlinuz-a b\u00e4\n", "text")
    assert only().id == "a_b__"


def test_rebuilt_kernel_of_the_running_release_does_not_run(root: Path) -> None:
    put(root / f"boot/vmlinuz-{RUNNING}", bzimage(RUNNING, build="#2 SMP rebuilt"))
    assert not only().running


def test_of_two_that_could_be_running_it_is_the_booted_one(root: Path) -> None:
    for name in ("a", "b"):
        put(root / f"efi/EFI/Linux/{name}.efi", uki(initrd=name.encode()))
    put(root / "proc/cmdline", "BOOT_IMAGE=/EFI/Linux/b.efi quiet")
    assert [(k.image.name, k.running) for k in list_kernels(CONFIG)] == [
        ("a.efi", False),
        ("b.efi", True),
    ]


def test_configuration_changes_every_command_line(root: Path) -> None:
    debian(root, "6.18.1")
    (kernel,) = list_kernels(KernelConfig(cmdline_add=("panic=10 ro",), cmdline_remove=("quiet",)))
    assert kernel.cmdline == "root=/dev/vda1 ro panic=10"


def test_a_thousand_kernels(root: Path) -> None:
    for number in range(500):
        release = f"6.{number % 50}.{number // 50}-amd64"
        debian(root, release)
        put(root / f"usr/lib/modules/{release}/vmlinuz", bzimage(release))
        put(root / f"efi/EFI/Linux/{release}.efi", uki(bzimage(release, build="#9")))
    began = time.monotonic()
    kernels = list_kernels(CONFIG)
    took = time.monotonic() - began
    assert len(kernels) == 1000
    assert (kernels[0].id, kernels[-1].release) == ("6.49.9-amd64", "6.0.0-amd64")
    assert not any(kernel.problems for kernel in kernels)
    assert took < 25, f"{took:.1f} s; a bus call is given up after 25"
