# SPDX-License-Identifier: LGPL-2.1-or-later
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from liveupdated.kernels import entries
from liveupdated.kernels.entries import Entry, parse_entry, parse_grubenv

PATH = Path("/boot/loader/entries/4098b3f6-6.18.1.conf")

FEDORA = """\
# made by hand
title        Fedora Linux 43 (Forty Three)
sort-key     fedora
machine-id   6a9857a393724b7a981ebb5b8495b9ea
version      6.18.1
options      root=UUID=6d3376e4 quiet
options\tro
architecture x64
linux        /6a98/6.18.1/linux
initrd       /6a98/ucode
initrd       /6a98/6.18.1/initrd
"""


def test_all_keys() -> None:
    assert parse_entry(FEDORA, PATH) == Entry(
        path=PATH,
        linux="/6a98/6.18.1/linux",
        title="Fedora Linux 43 (Forty Three)",
        version="6.18.1",
        machine_id="6a9857a393724b7a981ebb5b8495b9ea",
        sort_key="fedora",
        initrds=("/6a98/ucode", "/6a98/6.18.1/initrd"),
        options="root=UUID=6d3376e4 quiet ro",
        architecture="x86_64",
    )


def test_an_entry_without_options_says_nothing_about_them() -> None:
    assert parse_entry("linux /a\n", PATH).options is None
    assert parse_entry("linux /a\noptions\n", PATH).options == ""


def test_grub_variables() -> None:
    text = "linux /a\ninitrd /b $tuned_initrd\noptions $kernelopts ${tuned_params} quiet\n"
    variables = parse_grubenv("# GRUB Environment Block\nkernelopts=root=/dev/vda1 ro\n#######")
    entry = parse_entry(text, PATH, variables)
    assert entry.options == "root=/dev/vda1 ro quiet"
    assert entry.initrds == ("/b",)


def test_other_loaders_know_no_variables() -> None:
    assert parse_entry("linux /a\noptions x=$y\n", PATH).options == "x=$y"


def test_kernel_named_as_efi_program() -> None:
    assert parse_entry("efi /EFI/Linux/a.efi\n", PATH).efi
    assert not parse_entry("uki /EFI/Linux/a.efi\n", PATH).efi


def test_boot_counter() -> None:
    bad = parse_entry("linux /a\n", Path("/e/arch+0-3.conf"))
    good = parse_entry("linux /a\n", Path("/e/arch+2-1.conf"))
    assert (bad.name, bad.given_up) == ("arch", True)
    assert (good.name, good.given_up) == ("arch", False)


def test_order_of_the_menu() -> None:
    def entry(name: str, text: str = "") -> Entry:
        return parse_entry(text + "linux /a\n", Path(f"/e/{name}.conf"))

    expected = [
        entry("z", "sort-key a\nversion 2\n"),
        entry("y", "sort-key a\nversion 1.10\n"),
        entry("x", "sort-key a\nversion 1.9\n"),
        entry("w", "sort-key b\n"),
        entry("arch"),
        entry("arch-fallback"),
        entry("zz+0", "sort-key a\nversion 3\n"),
    ]
    assert sorted(reversed(expected), key=entries.menu_key) == expected


@given(st.text())
def test_any_text_is_an_entry(text: str) -> None:
    entry = parse_entry(text, PATH, {})
    assert entry.path == PATH
    assert all(initrd.strip() for initrd in entry.initrds)
