# SPDX-License-Identifier: LGPL-2.1-or-later
"""Control groups: what can be provoked without one."""

import errno
from pathlib import Path

import pytest

from liveupdated import cgroup


def test_cgroup_that_goes_between_open_and_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kernfs answers ENODEV then (seen in a rehearsal); fed here, because it is a race."""

    def read_text(path: Path) -> str:
        raise OSError(errno.ENODEV, "No such device", str(path))

    (tmp_path / "cgroup.procs").touch()
    monkeypatch.setattr(Path, "read_text", read_text)
    with pytest.raises(FileNotFoundError, match="gone"):
        cgroup.read(tmp_path / "cgroup.events")
    assert cgroup.pids(tmp_path) == []


def test_a_cgroup_of_threads_tells_no_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As libvirt's vcpu0; fed here, because it takes a threaded cgroup of the host's."""
    (tmp_path / "vcpu0").mkdir()

    def read_text(path: Path) -> str:
        if path.parent.name == "vcpu0":
            raise OSError(errno.EOPNOTSUPP, "Operation not supported", str(path))
        return "12\n13\n"

    monkeypatch.setattr(Path, "read_text", read_text)
    assert cgroup.pids(tmp_path) == [12, 13]
