# SPDX-License-Identifier: LGPL-2.1-or-later
"""The settings: what people write is validated, in this process or in one of its own."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from liveupdated import config, paths
from liveupdated.config import Config
from liveupdated.errors import InvalidArgument, ServiceError

Load = Callable[[], Config]


@pytest.fixture(params=["load_config", "load_apart"])
def load(request: pytest.FixtureRequest) -> Load:
    loaded: Load = getattr(config, request.param)
    return loaded


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the files are; also for a process of its own."""
    folder = tmp_path / "etc/liveupdated"
    (folder / "conf.d").mkdir(parents=True)
    monkeypatch.setattr(paths, "CONFIG", folder / "liveupdated.toml")
    monkeypatch.setattr(paths, "CONFIG_DROPINS", folder / "conf.d")
    monkeypatch.setenv("LIVEUPDATED_ROOT", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    return folder


def test_they_are_merged_key_by_key(load: Load, etc: Path) -> None:
    (etc / "liveupdated.toml").write_text(
        '[kernels]\nfolders = ["/a"]\ncmdline_remove = ["b"]\n'
        '[health]\ncommands = [["true", "x"]]\n'
    )
    (etc / "conf.d/50.toml").write_text('[kernels]\nfolders = ["/c"]\n')
    loaded = load()
    assert (loaded.kernels.folders, loaded.kernels.cmdline_remove) == (["/c"], ["b"])
    assert loaded.health.commands == [["true", "x"]]
    assert list(loaded.update.accept_loss) == list(Config().update.accept_loss)


def test_limits_are_by_pattern(load: Load, etc: Path) -> None:
    (etc / "liveupdated.toml").write_text('[update.blackout_limits]\n"services:redis*" = 1.5\n')
    assert load().update.blackout_limits == {"services:redis*": 1.5}


def test_words_of_the_command_line_add_up(load: Load, etc: Path) -> None:
    (etc / "liveupdated.toml").write_text(
        '[kernels]\ncmdline_add = ["a"]\ncmdline_remove = ["b"]\n'
    )
    for given, wanted in (
        ('["c"]', ["a", "c"]),
        ("[]", ["a"]),
        ('["", "c"]', ["c"]),
        ('["c", ""]', []),
    ):
        (etc / "conf.d/50.toml").write_text(f"[kernels]\ncmdline_add = {given}\n")
        loaded = load()
        assert (loaded.kernels.cmdline_add, loaded.kernels.cmdline_remove) == (wanted, ["b"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[update]\nmax_blackuot_s = 1\n", "update.max_blackuot_s: there is no such"),
        ("[updat]\n", "updat: there is no such"),
        ("update = 3\n", "update: .*dictionary"),
        ("[update]\nmax_blackout_s = -1\n", "update: .*max_blackout_s cannot be below 0"),
        ("[update]\ninhibit_delay_s = nan\n", "inhibit_delay_s cannot be below 0"),
        ("[update.blackout_limits]\na = 0\n", "update: .*blackout_limits must be above 0"),
        ('[update.blackout_limits]\na = "b"\n', "update.blackout_limits.a: "),
        ('[update]\nstop = "never"\n', "update.stop: .*'quick' or 'orderly'"),
        ("[health]\ntimeout_s = 0\n", "health: .*timeout_s must be above 0"),
        ('[kernels]\nfolders = "/boot"\n', "kernels.folders: "),
        ("[kernels\n", "line 1"),
    ],
)
def test_a_mistake_is_refused_by_file_and_key(load: Load, etc: Path, text: str, words: str) -> None:
    (etc / "conf.d/7.toml").write_text(text)
    with pytest.raises(InvalidArgument, match=rf"(?s)/7\.toml is not valid: .*{words}"):
        load()


def test_what_is_no_text_is_refused(load: Load, etc: Path) -> None:
    (etc / "liveupdated.toml").mkdir()
    with pytest.raises(InvalidArgument, match=r"liveupdated\.toml is not valid"):
        load()
    (etc / "liveupdated.toml").rmdir()
    (etc / "liveupdated.toml").write_bytes(b"\xff")
    with pytest.raises(InvalidArgument, match=r"liveupdated\.toml is not valid"):
        load()


def test_nobody_is_asked_where_nothing_is_written(
    etc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (etc / "liveupdated.toml").write_text("# [kernels]\n")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert config.load_apart() == Config()


def test_a_process_that_does_not_answer_is_told(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (etc / "liveupdated.toml").write_text("[health]\ntimeout_s = 3\n")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ServiceError, match="could not be validated"):
        config.load_apart()
