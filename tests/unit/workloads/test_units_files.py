# SPDX-License-Identifier: LGPL-2.1-or-later
"""Unit files below /run are taken along and put back; a timer's time goes on."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveupdated import systemd, timers, unitfiles
from liveupdated.errors import BadSession


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /run of its own."""
    monkeypatch.setattr(systemd, "RUN", tmp_path)
    return tmp_path


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_a_persistent_unit_leaves_nothing_behind(run: Path) -> None:
    unit = {"Id": "a.service", "FragmentPath": "/usr/lib/systemd/system/a.service"}
    assert unitfiles.unit_files(unit) == {}


def test_drop_ins_of_this_boot_are_taken_along(run: Path) -> None:
    ours = write(run / "systemd/system/a.service.d/x.conf", "[Unit]\n")
    control = write(run / "systemd/system.control/a.service.d/50-CPUWeight.conf", "[Service]\n")
    generated = write(run / "systemd/generator/a.service.d/y.conf", "[Unit]\n")
    unit = {
        "Id": "a.service",
        "FragmentPath": "/usr/lib/systemd/system/a.service",
        "DropInPaths": f"{control} {ours} {generated} /etc/systemd/system/a.service.d/z.conf",
    }
    assert unitfiles.unit_files(unit) == {
        "systemd/system/a.service.d/x.conf": "[Unit]\n",
        "systemd/system.control/a.service.d/50-CPUWeight.conf": "[Service]\n",
    }


def test_a_unit_file_of_this_boot_is_taken_along_but_not_a_mask(run: Path) -> None:
    fragment = write(run / "systemd/system/a@.service", "[Service]\n")
    (run / "systemd/system/b.service").symlink_to("/dev/null")
    mask = str(run / "systemd/system/b.service")
    found = unitfiles.unit_files({"Id": "a@1.service", "FragmentPath": fragment})
    assert found == {"systemd/system/a@.service": "[Service]\n"}
    assert unitfiles.unit_files({"Id": "b.service", "FragmentPath": mask}) == {}


def test_an_accepting_socket_brings_its_template(run: Path) -> None:
    fragment = write(run / "systemd/system/a.socket", "[Socket]\nAccept=yes\n")
    write(run / "systemd/system/a@.service", "[Service]\n")
    found = unitfiles.unit_files({"Id": "a.socket", "FragmentPath": fragment})
    assert set(found) == {"systemd/system/a.socket", "systemd/system/a@.service"}


def test_a_transient_unit_becomes_a_drop_in_also_when_it_was_one_before(run: Path) -> None:
    folder = run / "systemd/transient"
    unit = {
        "Id": "a.service",
        "Transient": "yes",
        "FragmentPath": write(folder / "a.service", "# made by systemd-run\n"),
        "DropInPaths": " ".join(
            (
                write(folder / "a.service.d/00-liveupdated.conf", "[Service]\nExecStart=/a\n"),
                write(folder / "a.service.d/50-x.conf", "[Service]\nNice=1\n"),
                write(folder / "a.service.d/zzzz-liveupdated-remaining.conf", "[Timer]\n"),
            )
        ),
    }
    text = "# made by systemd-run\n[Service]\nExecStart=/a\n"
    assert unitfiles.unit_files(unit) == {
        "systemd/transient/a.service.d/00-liveupdated.conf": text,
        "systemd/transient/a.service.d/50-x.conf": "[Service]\nNice=1\n",
    }


def test_files_are_put_back_and_systemd_is_made_to_look(run: Path) -> None:
    folder = run / "systemd/system"
    folder.mkdir(parents=True)
    before = folder.stat().st_mtime_ns
    umask = os.umask(0o077)  # the worker's
    try:
        unitfiles.put({"systemd/transient/a.service.d/00-liveupdated.conf": "x"})
    finally:
        os.umask(umask)
    file = run / "systemd/transient/a.service.d/00-liveupdated.conf"
    assert file.read_text() == "x"
    assert file.stat().st_mode & 0o777 == 0o644
    assert file.parent.stat().st_mode & 0o777 == 0o755
    assert folder.stat().st_mtime_ns > before


def test_what_this_boot_has_made_itself_stays(run: Path) -> None:
    write(run / "systemd/system/a.service", "new")
    unitfiles.put({"systemd/system/a.service": "old"})
    assert (run / "systemd/system/a.service").read_text() == "new"


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "systemd/system/../../x",
        "systemd/systemx/a.service",
        "systemd/system",
        "udev/rules.d/a.rules",
        "systemd/generator/a.service",
    ],
)
def test_files_go_nowhere_else(run: Path, path: str) -> None:
    with pytest.raises(BadSession):
        unitfiles.put({path: "x"})
    assert not list(run.rglob("*.rules"))


# --- timers ---


def timer(*specs: tuple[str, str, float], calendar: str = "") -> dict[str, str]:
    """A timer as systemd shows it; the last of each spec in seconds from now."""
    now_us = time.monotonic_ns() // 1000
    lines = [
        f"{{ {base}USec={span} ; next_elapse={round(now_us + left * 1e6)}us }}"
        for base, span, left in specs
    ]
    shown = {"TimersMonotonic": "\n".join(lines)}
    if calendar:
        shown["TimersCalendar"] = f"{{ OnCalendar={calendar} ; next_elapse=n/a }}"
    return shown


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("0", 0),
        ("infinity", 0),
        ("1h 54min 56.195003s", 6896195003),
        ("2w 3d", 17 * 86400 * 10**6),
        ("1ms 5us", 1005),
        ("1y 1month", 31557600000000 + 2629800000000),
    ],
)
def test_time_spans_as_systemctl_writes_them(text: str, us: int) -> None:
    assert timers.span_us(text) == us


def test_a_timer_without_monotonic_times_has_nothing_pending() -> None:
    assert timers.pending({}) is None
    assert timers.pending(timer(calendar="hourly")) is None


def test_what_is_left_goes_on_and_what_repeats_is_kept() -> None:
    pending = timers.pending(
        timer(
            ("OnUnitActive", "30min", -5.0),
            ("OnActive", "1h", 600.0),
            ("OnBoot", "1min", -60.0),
            calendar="*-*-* *:00:00",
        )
    )
    assert pending is not None
    assert pending["goes_on"] == ["OnUnitActiveSec=30min", "OnCalendar=*-*-* *:00:00"]
    (left_us,) = pending["left_us"]
    assert 599 * 10**6 < left_us <= 600 * 10**6


@given(
    left_us=st.lists(st.integers(1, 10**13), max_size=3),
    passed_us=st.integers(-(10**13), 10**13),
)
def test_no_time_is_longer_than_it_was_nor_negative(left_us: list[int], passed_us: int) -> None:
    seen_us = time.time_ns() // 1000 - passed_us
    text = timers.dropin({"left_us": left_us, "seen_us": seen_us, "goes_on": ["OnBootSec=1h"]})
    lines = text.splitlines()
    assert lines[1:4] == ["[Timer]", "OnActiveSec=", "OnBootSec=1h"]
    for before, line in zip(left_us, lines[4:], strict=True):
        now = int(line.removeprefix("OnActiveSec=").removesuffix("us"))
        assert 0 <= now <= before
        assert now <= max(0, before - passed_us)
