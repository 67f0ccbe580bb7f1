# SPDX-License-Identifier: LGPL-2.1-or-later
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveupdated import paths
from liveupdated.errors import InvalidArgument
from liveupdated.kernels import cmdline
from tests.unit.kernels.fabricate import put


def kernel_words(line: str) -> list[tuple[str, str | None]]:
    """next_arg() of the kernel's lib/cmdline.c, statement by statement: the oracle."""
    found: list[tuple[str, str | None]] = []
    args = line.lstrip(" \t\n\v\f\r")
    while args:
        quoted = in_quote = False
        equals = 0
        if args[0] == '"':
            args = args[1:]
            quoted = in_quote = True
        i = 0
        while i < len(args):
            if args[i] in " \t\n\v\f\r" and not in_quote:
                break
            if equals == 0 and args[i] == "=":
                equals = i
            if args[i] == '"':
                in_quote = not in_quote
            i += 1
        word, rest = args[:i], args[i + 1 :]
        ends_quoted = word.endswith('"')
        if not equals:
            name, value = word, None
            if quoted and ends_quoted:
                name = name[:-1]
        else:
            name, value = word[:equals], word[equals + 1 :]
            stripped = False
            if value.startswith('"'):
                value = value[1:]
                if ends_quoted:
                    value, stripped = value[:-1], True
            if quoted and ends_quoted and not stripped:
                value = value[:-1]
        found.append((name, value))
        args = rest.lstrip(" \t\n\v\f\r")
    return found


lines = st.text(alphabet='ab=" -_\t.', max_size=30)


@given(lines)
def test_words_are_what_the_kernel_sees(line: str) -> None:
    assert [cmdline.parse(word) for word in cmdline.split(line)] == kernel_words(line)


@given(lines)
def test_taking_apart_and_putting_together_changes_no_word(line: str) -> None:
    words = cmdline.split(line)
    assert cmdline.split(" ".join(words)) == words


@given(lines, st.sampled_from(["a", "b", "a=b", "a-b", 'a="b b"']))
def test_what_is_removed_is_gone_and_the_rest_is_untouched(line: str, unwanted: str) -> None:
    words = cmdline.split(line)
    left = cmdline.remove(words, [unwanted])
    assert cmdline.remove(left, [unwanted]) == left
    remaining = iter(words)
    assert all(word in remaining for word in left)


def test_value_with_blanks_stays_one_word() -> None:
    line = 'root=/dev/vda1 dyndbg="file a.c +p; file b.c +p" quiet'
    assert cmdline.split(line) == ["root=/dev/vda1", 'dyndbg="file a.c +p; file b.c +p"', "quiet"]
    assert cmdline.parse('dyndbg="file a.c +p"') == ("dyndbg", "file a.c +p")


def test_removal_by_name_and_by_word() -> None:
    words = ["console=tty0", "console=ttyS0", "quiet", "my-option=1"]
    assert cmdline.remove(words, ["console=tty0"]) == ["console=ttyS0", "quiet", "my-option=1"]
    assert cmdline.remove(words, ["console", "my_option"]) == ["quiet"]


def test_words_for_init_are_neither_removed_nor_added_to() -> None:
    words = ["quiet", "--", "quiet", "single"]
    assert cmdline.remove(words, ["quiet"]) == ["--", "quiet", "single"]
    assert cmdline.add(words, ["ro"]) == ["quiet", "ro", "--", "quiet", "single"]


def test_words_are_not_repeated() -> None:
    assert cmdline.add(["ro", "quiet"], ["quiet", "ro"]) == ["ro", "quiet"]


def test_entry_comes_first(root: Path) -> None:
    put(root / "etc/kernel/cmdline", "from=file")
    assert cmdline.compose("root=/dev/sda1 ro", ["splash"], ["ro"]) == "root=/dev/sda1 splash"


def test_an_entry_that_says_nothing_is_believed(root: Path) -> None:
    put(root / "etc/kernel/cmdline", "from=file")
    assert cmdline.compose("", [], []) == ""


def test_etc_kernel_cmdline_comes_second(root: Path) -> None:
    put(root / "etc/kernel/cmdline", "# ours\nroot=/dev/sdb1\n  ro quiet\n")
    assert cmdline.compose(None, [], []) == "root=/dev/sdb1 ro quiet"


def test_running_command_line_loses_what_belongs_to_the_loader_and_to_our_last_jump(
    root: Path,
) -> None:
    put(
        root / "proc/cmdline",
        "BOOT_IMAGE=/vmlinuz-6.12 initrd=\\a.img initrd=\\b.img root=/dev/vda1 ro"
        " liveupdated.token=0123456789abcdef sysctl.kernel.ns_last_pid=105000 -- single\n",
    )
    assert cmdline.compose(None, ["panic=10"], []) == "root=/dev/vda1 ro panic=10 -- single"


@pytest.mark.parametrize("text", ["a\nb", "a\0", 'a="b', "ro -- single", '"--"'])
def test_what_cannot_be_added(text: str) -> None:
    with pytest.raises(InvalidArgument, match="command line"):
        cmdline.check(text)


def test_last_value_counts_and_only_the_kernels() -> None:
    assert cmdline.value("root=a root=b -- root=c", "root") == "b"
    assert cmdline.value("quiet root", "root") is None


@pytest.mark.parametrize(
    ("words", "running", "hidden"),
    [
        ("quiet clearcpuid=514", "quiet", ["clearcpuid=514"]),
        ("clearcpuid=514 noxsave", "clearcpuid=514", ["noxsave"]),
        ("clearcpuid=avx2", "clearcpuid=514", ["clearcpuid=avx2"]),
        ("quiet -- nopku", "", []),
    ],
)
def test_what_hides_features_of_the_cpu_is_found(
    words: str, running: str, hidden: list[str]
) -> None:
    assert cmdline.hidden_cpu_features(words.split(), running.split()) == hidden


@pytest.mark.parametrize(
    "kept", ["", "[]", "{}", '{"0123456789abcdef": 5}', '{"fedcba9876543210": "a"}']
)
def test_words_that_were_not_kept_for_this_boot_do_not_count(kept: str, root: Path) -> None:
    put(root / "proc/cmdline", "BOOT_IMAGE=/v root=/dev/vda1 liveupdated.token=0123456789abcdef\n")
    put(paths.LOADER_CMDLINE, kept)
    assert cmdline.base(None) == ["root=/dev/vda1"]
