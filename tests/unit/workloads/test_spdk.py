# SPDX-License-Identifier: LGPL-2.1-or-later
"""SPDK targets: found, saved and loaded again, against a stand-in for the target itself."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from liveupdated import spdk, unitfiles, unitrestore
from liveupdated.errors import SaveFailed, ServiceError
from liveupdated.host import Host
from liveupdated.session import Outcome, Verdict, Workload
from liveupdated.workloads import spdk as kind
from tests.unit.spdk_target import Target, in_background

DISK = {"method": "bdev_malloc_create", "params": {"name": "m0", "num_blocks": 64}}
OTHER = {"method": "bdev_malloc_create", "params": {"name": "m1", "num_blocks": 64}}


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where a target listens."""
    path = str(tmp_path / "spdk.sock")
    table = tmp_path / "unix"
    table.write_text(f"Num RefCount\n0: 2 0 00010000 0001 01 7 {path}\n")
    monkeypatch.setattr(spdk, "SOCKETS", table)
    return path


@pytest.fixture
def package() -> None:
    pytest.importorskip("spdk.rpc.config")


def started(path: str, *bdevs: dict[str, Any], waits: bool = False) -> Target:
    target = Target(waits=waits)
    target.bdevs = list(bdevs)
    if os.path.exists(path):
        os.unlink(path)
    in_background(target, path)
    return target


def found(monkeypatch: pytest.MonkeyPatch, *rules: kind.SpdkRule) -> list[Workload]:
    host = Host(list(rules))
    unit = {"MainPID": str(os.getpid()), "FragmentPath": "/etc/x", "DropInPaths": ""}
    monkeypatch.setitem(host.__dict__, "units", {"spdk.service": unit})
    monkeypatch.setattr(unitfiles, "needs_start", lambda host, unit: False)
    monkeypatch.setattr(kind, "declared", lambda host: {})
    return list(kind.find(host))


def test_a_target_without_the_package_blocks_and_a_rule_lets_it_start_afresh(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started(path)
    monkeypatch.setattr(spdk, "package_is_there", lambda: False)
    [workload] = found(monkeypatch)
    assert workload.verdict is Verdict.BLOCKS
    assert "the Python package spdk is not installed" in workload.reason
    [workload] = found(monkeypatch, kind.SpdkRule("*/spdk.sock", "no", "file"))
    assert workload.verdict is Verdict.RESTARTED
    assert "as file says" in workload.reason


def test_a_target_that_is_no_service_is_lost(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started(path)
    host = Host([])
    monkeypatch.setitem(host.__dict__, "units", {})
    [workload] = kind.find(host)
    assert workload.verdict is Verdict.LOST
    assert "main process of no service" in workload.reason


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("waits", [False, True])
def test_a_configuration_is_saved_and_loaded_into_a_fresh_target(path: str, waits: bool) -> None:
    old = started(path, DISK, OTHER)
    old.options["params"] = {"small_pool_count": 8192}
    saved = spdk.read_config(path)
    fresh = started(path, waits=waits)
    assert spdk.load_config(path, saved) == []
    assert fresh.bdevs == [DISK, OTHER]
    assert fresh.started


@pytest.mark.usefixtures("package")
def test_what_a_target_has_configured_itself_is_not_made_twice(path: str) -> None:
    started(path, DISK, OTHER)
    saved = spdk.read_config(path)
    fresh = started(path, DISK)
    assert spdk.load_config(path, saved) == []
    assert fresh.bdevs == [DISK, OTHER]


@pytest.mark.usefixtures("package")
def test_options_that_only_a_waiting_target_takes_are_named(path: str) -> None:
    old = started(path)
    old.options = {"method": "iobuf_set_options", "params": {"small_pool_count": 1}}
    saved = spdk.read_config(path)
    started(path)
    assert spdk.load_config(path, saved) == ["iobuf_set_options"]


@pytest.mark.usefixtures("package")
def test_a_refused_call_is_named(path: str) -> None:
    started(path)
    wanted = {"subsystems": [{"subsystem": "bdev", "config": [{"method": "bdev_nope"}]}]}
    with pytest.raises(ServiceError, match="does not take its configuration"):
        spdk.load_config(path, wanted)


@pytest.mark.usefixtures("package")
def test_saved_restored_and_refused_when_altered(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started(path, DISK)
    [workload] = found(monkeypatch)
    assert workload.verdict is Verdict.RESTARTED
    kind.save(workload, tmp_path, lambda name: None)
    fresh = started(path)
    monkeypatch.setattr(unitrestore, "afresh", lambda *a: (Outcome.RESTARTED, a[-1]))
    monkeypatch.setattr(
        spdk,
        "load_elsewhere",
        lambda path, file: spdk.load_config(path, json.loads(file.read_bytes())),
    )
    result = kind.restore(workload, tmp_path, lambda name: None)
    assert (result.outcome, fresh.bdevs) == (Outcome.RESTARTED, [DISK])
    assert "its configuration was loaded again; I/O that was in flight is lost" in result.reason
    (tmp_path / kind.CONFIG).write_text("{}")
    result = kind.restore(workload, tmp_path, lambda name: None)
    assert result.outcome is Outcome.FAILED
    assert "altered" in result.reason


@pytest.mark.usefixtures("package")
def test_a_target_that_hangs_up_is_not_saved(path: str, tmp_path: Path) -> None:
    workload = Workload("spdk:x", "spdk", path, Verdict.RESTARTED, "", facts={"save": True})
    with pytest.raises(SaveFailed, match="was not saved"):
        kind.save(workload, tmp_path, lambda name: None)


def test_what_is_missing_is_told_by_call() -> None:
    wanted = {"subsystems": [{"subsystem": "bdev", "config": [DISK, OTHER]}]}
    now = {"subsystems": [{"subsystem": "bdev", "config": [OTHER]}]}
    assert spdk.missing(wanted, now) == {"subsystems": [{"subsystem": "bdev", "config": [DISK]}]}
    assert spdk.missing(wanted, wanted) == {"subsystems": []}
    empty = {"subsystems": [{"subsystem": "bdev", "config": None}]}
    assert spdk.missing(empty, {"subsystems": []}) == {"subsystems": []}
