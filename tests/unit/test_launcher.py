# SPDX-License-Identifier: LGPL-2.1-or-later
"""The launcher in sh, and the commands that the restore worker writes down for it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from liveupdated import checkpoint, instructions, paths, tcp
from liveupdated.session import Json

SCRIPT = Path(__file__).parents[2] / "packaging/libexec/restore-unit"
INHERIT = "socket:[77]"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Of a unit that comes back, in a boot where the session was claimed."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run/claimed").touch()
    folder = tmp_path / "run/restoring/a.service"
    folder.mkdir(parents=True)
    return folder


def saved(**changed: Json) -> dict[str, Json]:
    outside = [{"dump": "x", "inherit": INHERIT, "path": "", "flags": 0, "position": 0}]
    return {
        "outside": outside,
        "uts": False,
        "volatile": False,
        "single_files": False,
        "shell_job": False,
        "terminals": False,
        "tcp": tcp.to_json(tcp.NONE),
        "files": {},
    } | changed


def ready(tmp_path: Path, work: Path, **changed: Json) -> list[list[str]]:
    """The commands that are written down for what was saved."""
    artifacts = tmp_path / "artifacts"
    artifacts.mkdir(parents=True)
    digest = instructions.write(artifacts, saved(**changed))
    checkpoint.ready(artifacts, digest, work)
    file = work / checkpoint.COMMANDS
    if not file.exists():
        return []
    return [command.split("\n") for command in file.read_text().split("\n\n") if command]


def launch(tmp_path: Path, work: Path, commands: str | None) -> subprocess.CompletedProcess[str]:
    """Run it, beside a Python launcher that only says that it was asked."""
    folder = tmp_path / "libexec"
    folder.mkdir(exist_ok=True)
    shutil.copy(SCRIPT, folder)
    (folder / "launch-unit").write_text('#!/bin/sh\necho "python $*"\n')
    (folder / "launch-unit").chmod(0o755)
    if commands is not None:
        (work / checkpoint.COMMANDS).write_text(commands)
    command = [str(folder / SCRIPT.name), "ARTIFACTS", "DIGEST", str(work)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


# --- what is written down ---


def test_a_plain_restore_is_criu_alone(tmp_path: Path, work: Path) -> None:
    [command] = ready(tmp_path, work)
    assert command[1] == "restore"
    assert command[command.index("--inherit-fd") + 1] == f"fd[3]:{INHERIT}"
    assert f"--pidfile={work}/pid" in command


def test_its_files_and_its_host_name_come_first(tmp_path: Path, work: Path) -> None:
    *archives, criu = ready(tmp_path, work, volatile=True, single_files=True, uts=True)
    assert [command[:2] for command in archives] == [["tar", "--extract"]] * 2
    assert criu[:2] == ["unshare", "--uts"]


def test_where_a_shell_will_not_do_nothing_is_written(tmp_path: Path, work: Path) -> None:
    opened = {**saved()["outside"][0], "path": "/dev/kmsg"}
    many = [{**saved()["outside"][0], "inherit": f"socket:[{n}]"} for n in range(8)]
    absent = tcp.to_json(tcp.Sockets((), (tcp.Endpoint("192.0.2.1", 80),), ()))
    waits: list[dict[str, Json]] = [
        {"outside": [opened]},
        {"outside": many},
        {"terminals": True},
        {"tcp": absent},
        {"files": {"images/core-1.img": [1, "a digest"]}},
    ]
    for number, changed in enumerate(waits):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert ready(folder, work, **changed) == [], changed


def test_who_needs_others_waits(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "WAITING", tmp_path)
    instructions.waits(Path("away/artifacts")).touch()
    assert ready(tmp_path / "away", work) == []


def test_other_instructions_than_were_saved_are_left_to_python(tmp_path: Path, work: Path) -> None:
    instructions.write(tmp_path, saved())
    checkpoint.ready(tmp_path, "another digest", work)
    assert not (work / checkpoint.COMMANDS).exists()


# --- what is run ---


def test_words_arrive_as_they_were_and_its_output_is_at_hand(tmp_path: Path, work: Path) -> None:
    words = ["a b", "*", "$(id)", r"back\nslash", "'quoted\"", " "]
    commands = "\n".join(
        ["printf", "<%s>", *words, "", "sh", "-c", "echo to the journal >&9", "", ""]
    )
    done = launch(tmp_path, work, commands)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "".join(f"<{word}>" for word in words) + "to the journal\n"
    assert (work / "running").exists()


def test_the_first_failure_is_the_end(tmp_path: Path, work: Path) -> None:
    done = launch(tmp_path, work, "false\n\necho\nnever\n\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert not (work / "running").exists()
    assert (work / "error").read_text() == "false failed\n"


def test_without_commands_python_is_asked(tmp_path: Path, work: Path) -> None:
    done = launch(tmp_path, work, None)
    assert done.stdout == f"python ARTIFACTS DIGEST {work}\n"
    assert (work / "running").exists()


def test_nothing_is_restored_that_was_not_claimed(tmp_path: Path, work: Path) -> None:
    (tmp_path / "run/claimed").unlink()
    done = launch(tmp_path, work, "echo\nunclaimed\n\n")
    assert done.stdout.startswith("python ")  # which refuses: see test_instructions.py


def test_what_was_brought_back_is_not_brought_back_again(tmp_path: Path, work: Path) -> None:
    (work / "running").touch()
    done = launch(tmp_path, work, "echo\nagain\n\n")
    assert done.stdout.startswith("python ")  # which refuses: see test_steps.py
