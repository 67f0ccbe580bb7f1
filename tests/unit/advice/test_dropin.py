# SPDX-License-Identifier: LGPL-2.1-or-later
"""Applied, and exactly that taken back."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveupdated import config, paths
from liveupdated.advice import Advice, dropin, parameters
from liveupdated.advice.dropin import Words
from liveupdated.errors import InvalidArgument, LiveUpdateError, NotAuthorized, NotFound
from liveupdated.kernels import cmdline

QUIET = Advice("q", "", [], "", add=["quiet"], remove=["ignore_loglevel"])
PARALLEL = Advice("p", "", [], "", remove=["cpuhp.parallel"])
SAID = Advice("s", "", [], "")


@pytest.fixture
def dropins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "conf.d"
    monkeypatch.setattr(paths, "CONFIG", tmp_path / "liveupdated.toml")
    monkeypatch.setattr(paths, "CONFIG_DROPINS", folder)
    monkeypatch.setattr(paths, "ADVISED", folder / "90-advise.toml")
    return folder


def test_there_and_back(dropins: Path) -> None:
    dropins.mkdir()
    mine = dropins / "10-mine.toml"
    mine.write_text('[kernels]\ncmdline_add = ["panic=10"]\n')
    words = dropin.read().with_([QUIET, PARALLEL, SAID])
    path = dropin.apply(words)
    assert path.stat().st_mode & 0o777 == 0o644
    assert path.read_text() == (
        "# Written by `liveupdatectl advise --apply`; "
        "`liveupdatectl advise --undo` takes it away.\n"
        '[kernels]\ncmdline_add = ["quiet"]\n'
        'cmdline_remove = ["ignore_loglevel", "cpuhp.parallel"]\n'
    )
    loaded = config.load_config().kernels
    assert loaded.cmdline_add == ["panic=10", "quiet"]
    line = cmdline.compose("ro cpuhp.parallel=0", loaded.cmdline_add, loaded.cmdline_remove)
    assert line == "ro panic=10 quiet"
    assert dropin.undo() == words
    assert list(dropins.iterdir()) == [mine]
    assert config.load_config().kernels.cmdline_add == ["panic=10"]


def test_a_second_time_adds_to_the_first(dropins: Path) -> None:
    dropin.apply(dropin.read().with_([QUIET]))
    # After the jump quiet is there, and is advised no more: it must stay.
    words = dropin.read().with_([PARALLEL])
    assert words == Words(("quiet",), ("ignore_loglevel", "cpuhp.parallel"))
    assert words.with_([QUIET, PARALLEL]) == words
    assert words.has(QUIET) and words.has(PARALLEL) and not Words().has(QUIET)


def test_nothing_to_undo(dropins: Path) -> None:
    with pytest.raises(NotFound, match="no advice is applied"):
        dropin.undo()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "kernels = 5",
        "[kernels]\n",
        "[[kernels]]\n",
        "no toml",
        '[kernels]\ncmdline_add = ["quiet"]\n',
        "[kernels]\ncmdline_add = 5\n",
        Words(("quiet",)).text() + "# and mine\n",
    ],
)
def test_what_somebody_else_wrote_is_left_alone(text: str, dropins: Path) -> None:
    dropins.mkdir()
    paths.ADVISED.write_text(text)
    for what in (dropin.read, dropin.undo):
        with pytest.raises(InvalidArgument, match="somebody changed it"):
            what()
    assert paths.ADVISED.read_text() == text


def test_who_may_not_write_is_told(dropins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    dropin.apply(Words(("quiet",)))
    monkeypatch.setattr(dropin, "write_durably", refuse)
    with pytest.raises(NotAuthorized, match=r"Permission denied.*be root"):
        dropin.apply(Words(("quiet",)))
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(NotAuthorized):
        dropin.undo()
    assert paths.ADVISED.exists()


def test_a_folder_that_cannot_be_made(dropins: Path) -> None:
    dropins.write_text("a file")
    with pytest.raises(LiveUpdateError, match="File exists"):
        dropin.apply(Words(("quiet",)))


WORD = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1)


@given(st.lists(WORD), st.lists(WORD, min_size=1))
def test_any_words_come_back_as_they_were(add: list[str], remove: list[str]) -> None:
    import tempfile  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "ADVISED", Path(folder) / "a.toml")
        words = Words(tuple(add), tuple(remove))
        dropin.apply(words)
        assert dropin.read() == words


def test_what_is_applied_is_in_the_table_as_such() -> None:
    advised = {parameter.name: parameter.advised for parameter in parameters.TABLE}
    assert len(advised) == len(parameters.TABLE)
    assert set(advised.values()) == {"add", "remove", "say"}
    assert [name for name, how in advised.items() if how == "add"] == ["quiet"]


def test_the_manual_has_the_same_table() -> None:
    manual = (Path(__file__).parents[3] / "docs/man/liveupdatectl.1").read_text()
    _, _, rest = manual.partition(".SH PARAMETERS\n")
    text = rest.partition(".SH ")[0].replace("\\-", "-")
    entries = text.split(".TP\n")[1:]
    assert len(entries) == len(parameters.TABLE)
    for entry, parameter in zip(entries, parameters.TABLE, strict=True):
        head = f'.BR {parameter.name} " ({parameter.since}; {parameter.advised})"\n'
        assert entry.startswith(head)
        assert parameter.effect[1:] in entry and parameter.source in entry
