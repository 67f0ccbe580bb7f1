# SPDX-License-Identifier: LGPL-2.1-or-later
"""A lean initrd beside the full one."""

import os
from pathlib import Path

import pytest

from liveupdated import paths, pci
from liveupdated.errors import LiveUpdateError
from liveupdated.kernels import KernelConfig, lean, loader
from liveupdated.update import stage
from liveupdated.update.stage import Request
from tests.unit.kernels.fabricate import bzimage, put

RELEASE = "6.18.1"
CONFIG = KernelConfig(lean_initrd=True)
FULL = f"boot/initrd.img-{RELEASE}"


@pytest.fixture
def full(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(pci, "SYS", root / "sys")
    put(root / "etc/initramfs-tools/initramfs.conf", "MODULES=most\n")
    put(root / f"boot/vmlinuz-{RELEASE}", bzimage(RELEASE))
    put(root / FULL, "full")
    return root / FULL


def make_with(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Have this be what makes initrds: it is told the release and where to."""
    tool = lean.Tool(
        "a tool",
        lambda root: True,
        lambda root: False,
        lambda release, made, scratch: ["sh", "-c", script, "sh", release, str(made)],
    )
    monkeypatch.setattr(lean, "TOOLS", (tool,))


def test_it_is_there_until_the_full_one_is_another(
    full: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_with(monkeypatch, 'echo "lean for $1" >"$2"')
    assert lean.ready(RELEASE, full) is None
    lean.build(RELEASE, full)
    made = lean.ready(RELEASE, full)
    assert made is not None and made.read_text() == f"lean for {RELEASE}\n"
    assert [each.name for each in paths.LEAN_INITRDS.iterdir()] == [made.name]
    assert paths.LEAN_INITRDS.stat().st_mode & 0o077 == 0
    os.utime(full, ns=(1, 1))
    assert lean.ready(RELEASE, full) is None


def test_what_fails_leaves_none(full: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_with(monkeypatch, "echo before >$2")
    lean.build(RELEASE, full)
    make_with(monkeypatch, 'echo half >"$2"; echo no space left >&2; exit 1')
    with pytest.raises(LiveUpdateError, match="no space left"):
        lean.build(RELEASE, full)
    assert list(paths.LEAN_INITRDS.iterdir()) == []


def test_without_a_tool_the_way_out_is_named(full: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lean, "TOOLS", ())
    with pytest.raises(LiveUpdateError) as raised:
        lean.build(RELEASE, full)
    assert "lean_initrd" in raised.value.hint


def test_initramfs_tools_keep_the_hosts_own_settings(root: Path, tmp_path: Path) -> None:
    put(root / "etc/initramfs-tools/initramfs.conf", "MODULES=most\n")
    put(root / "etc/initramfs-tools/conf.d/own", "COMPRESS=lz4\n")
    tool = lean.tool(root)
    assert tool is not None and not tool.already(root)
    command = tool.command(RELEASE, tmp_path / "made", tmp_path)
    assert command[0] == "mkinitramfs" and command[-1] == RELEASE
    settings = Path(command[command.index("-d") + 1])
    assert (settings / "conf.d/own").read_text() == "COMPRESS=lz4\n"
    assert sorted(each.name for each in (settings / "conf.d").iterdir())[-1].startswith("zzzz")
    assert not (root / "etc/initramfs-tools/conf.d/zzzz-liveupdated").exists()
    put(root / "etc/initramfs-tools/conf.d/modules", "MODULES=dep\n")
    assert tool.already(root)


@pytest.mark.parametrize(
    ("file", "word"), [("usr/bin/dracut", "--hostonly"), ("etc/mkinitcpio.conf", "--generate")]
)
def test_other_tools(root: Path, tmp_path: Path, file: str, word: str) -> None:
    put(root / file, "")
    tool = lean.tool(root)
    assert tool is not None
    assert word in tool.command(RELEASE, tmp_path / "made", tmp_path)


# --- in a stage ---


@pytest.fixture
def loaded(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The initrds that the kernel was given."""
    found: list[bytes] = []

    def load(image: int, initrd: int, line: str | None, flags: int) -> int:
        if not flags & 1:
            found.append(os.pread(initrd, 1 << 20, 0))
        put(root / "sys/kernel/kexec_loaded", f"{int(not flags & 1)}\n")
        return 0

    monkeypatch.setattr(loader, "_kexec_file_load", load)
    return found


def test_a_jump_takes_it_and_it_is_made_once(
    full: Path, loaded: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_with(monkeypatch, "echo lean >$2")
    stage.make_initrd(Request(RELEASE), CONFIG)
    make_with(monkeypatch, "exit 1")
    stage.make_initrd(Request(RELEASE), CONFIG)
    made = str(paths.LEAN_INITRDS / f"{RELEASE}.img")
    assert stage.run(Request(RELEASE), CONFIG).initrds == [made]
    assert stage.run(Request(RELEASE), KernelConfig()).initrds == [str(full)]
    assert loaded == [b"lean\n", b"full"]


def test_where_none_was_made_the_full_one_goes(full: Path, loaded: list[bytes]) -> None:
    assert stage.run(Request(RELEASE), CONFIG).initrds == [str(full)]
    assert loaded == [b"full"]
