# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a virtual machine's verdict means for its unit, before the jump and after."""

from pathlib import Path

import pytest

from liveupdated import paths, unitrestore
from liveupdated.errors import ServiceError
from liveupdated.session import Mark, Outcome, Verdict, Workload
from liveupdated.workloads import machines

UNIT = "mail.service"
SAVED = {"launch": "d1ge57", "argv": ["/usr/bin/qemu", "-incoming", "defer"], "type": "exec"}


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workload:
    monkeypatch.setattr(paths, "RESTORING", tmp_path / "restoring")
    facts = {"main": 1, "cgroup": "/none", "files": {}, "start": False}
    workload = Workload(f"machines:{UNIT}", "machines", UNIT, Verdict.CARRIED, "", facts=facts)
    workload.saved = dict(SAVED)
    machines.prepare(workload, tmp_path)
    return workload


def test_the_next_start_is_the_restore_until_it_had_its_try(
    guest: Workload, tmp_path: Path
) -> None:
    ((path, text),) = machines.boot_files(guest, tmp_path).items()
    assert path == f"{UNIT}.d/{unitrestore.DROPIN}"
    lines = text.splitlines()
    assert 'ExecStart=:"/usr/bin/qemu" "-incoming" "defer"' in lines
    assert lines.index("ExecStart=") < lines.index('ExecStart=:"/usr/bin/qemu" "-incoming" "defer"')
    load = f"restore-machine load {tmp_path} d1ge57 {unitrestore.folder(UNIT)}"
    assert f"ExecStartPost=+{paths.LIBEXEC}/{load}" in lines
    assert unitrestore.until_settled(UNIT) in text


def test_one_that_is_not_carried_is_neither_held_nor_touched(
    guest: Workload, tmp_path: Path
) -> None:
    assert machines.hold_files(guest)
    guest.verdict, guest.saved = Verdict.RESTARTED, None
    assert machines.hold_files(guest) == {}
    assert machines.boot_files(guest, tmp_path) == {}
    machines.save(guest, tmp_path, lambda name: None)
    machines.resume(guest, tmp_path)
    assert guest.saved is None


def test_a_restore_brings_the_launchers_marks(guest: Workload, tmp_path: Path) -> None:
    work = unitrestore.folder(UNIT)
    (work / "marks.json").write_text('{"returning": 5000000, "returned": 5100000}')
    (work / "running").touch()
    result = machines.restore(guest, tmp_path, lambda name: None)
    assert result.outcome is Outcome.CARRIED
    assert [(mark.name, mark.boottime_us, mark.workload) for mark in result.marks] == [
        ("returning", 5_000_000, guest.id),
        ("returned", 5_100_000, guest.id),
    ]
    assert all(isinstance(mark, Mark) for mark in result.marks)


def test_who_is_gone_before_it_was_saved_is_named(guest: Workload, tmp_path: Path) -> None:
    guest.saved = None
    with pytest.raises(ServiceError, match="gone and was not saved"):
        machines.resume(guest, tmp_path)
