# SPDX-License-Identifier: LGPL-2.1-or-later
"""DPDK applications: found by telemetry, written down, compared afterwards."""

import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from liveupdated import cgroup, dpdk, instructions, paths, pci, unitfiles, unitrestore
from liveupdated.errors import SaveFailed
from liveupdated.host import Host
from liveupdated.procs import again, places
from liveupdated.session import Outcome, Verdict, Workload
from liveupdated.workloads import dpdk as kind

SERVICE = "pmd.service"
ANSWERS: dict[str, Any] = {
    "/info": {"version": "DPDK 24.11"},
    "/eal/params": ["testpmd", "-l", "0-1", "--file-prefix=lab"],
    "/eal/app_params": ["--auto-start"],
    "/ethdev/list": [0],
    "/ethdev/info,0": {"name": "0000:03:00.0"},
    "/ethdev/stats,0": {"ipackets": 5, "opackets": 3},
    "/mempool/list": ["mb"],
    "/mempool/info,mb": {"populated_size": 9, "total_cache_count": 2, "common_pool_count": 3},
}


class Application:
    """A process (ours) that answers to telemetry."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = folder / "dpdk/lab" / dpdk.SOCKET_NAME
        self.path.parent.mkdir(parents=True)
        self.answers = dict(ANSWERS)
        self.silent = False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(self.path))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()
        table = folder / "unix"
        table.write_text(
            f"Num\n0: 2 0 00010000 0005 01 7 {self.path}\n1: 2 0 00010000 0001 01 8 /other\n"
        )
        monkeypatch.setattr(dpdk, "SOCKETS", table)
        monkeypatch.setattr(dpdk, "ROOTS_FOLDERS", (str(folder / "dpdk"),))
        monkeypatch.setattr(dpdk, "LIMIT_S", 0.3)

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        with connection:
            if self.silent:
                connection.recv(1)
                return
            connection.send(json.dumps({"pid": 1, "max_output_len": 16384}).encode())
            while command := connection.recv(1024).decode():
                name = command.partition(",")[0]
                connection.send(json.dumps({name: self.answers.get(command)}).encode())


@pytest.fixture
def application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Application:
    monkeypatch.setattr(kind, "declared", lambda host: {})
    monkeypatch.setattr(pci, "opened_by", lambda pid: ["0000:03:00.0"])
    monkeypatch.setattr(unitfiles, "needs_start", lambda host, unit: False)
    return Application(tmp_path, monkeypatch)


def found(monkeypatch: pytest.MonkeyPatch, unit: str) -> Workload:
    group = f"/system.slice/{unit}" if unit else "/user.slice/session-1.scope"
    monkeypatch.setattr(cgroup, "of_process", lambda pid: group)
    host = Host([])
    units = {unit: {"MainPID": str(os.getpid()), "FragmentPath": ""}} if unit else {}
    monkeypatch.setitem(host.__dict__, "units", units)
    [workload] = kind.find(host)
    assert host.spoken_for == ({unit} if unit == SERVICE else set())
    assert host.spoken_for_pids == {os.getpid()}
    return workload


def test_a_service_is_started_again_by_systemd(
    application: Application, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    workload = found(monkeypatch, SERVICE)
    assert (workload.id, workload.verdict) == ("dpdk:lab", Verdict.RESTARTED)
    assert {"hugepages", "device:0000:03:00.0"} <= set(workload.needs)
    assert f"unit:{SERVICE}" in workload.provides
    kind.save(workload, tmp_path, lambda name: None)
    monkeypatch.setattr(unitrestore, "afresh", lambda *a: (Outcome.RESTARTED, a[-1]))
    result = kind.restore(workload, tmp_path, lambda name: None)
    assert (result.outcome, result.reason) == (
        Outcome.RESTARTED,
        "what was in flight is lost: at the save 4 packet buffers were in its rings and queues; "
        "0000:03:00.0 had received 5 and sent 3 packets",
    )
    application.answers["/eal/app_params"] = ["--other"]
    result = kind.restore(workload, tmp_path, lambda name: None)
    assert "other arguments than before (-l 0-1 --file-prefix=lab -- --other)" in result.reason


def test_one_that_does_not_answer_blocks_and_does_not_come_back(
    application: Application, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    workload = found(monkeypatch, SERVICE)
    kind.save(workload, tmp_path, lambda name: None)
    application.silent = True
    assert found(monkeypatch, SERVICE).verdict is Verdict.BLOCKS
    with pytest.raises(SaveFailed, match="does not answer"):
        kind.save(workload, tmp_path, lambda name: None)
    monkeypatch.setattr(kind, "ANSWER_LIMIT_S", 0.1)
    monkeypatch.setattr(unitrestore, "afresh", lambda *a: (Outcome.RESTARTED, a[-1]))
    result = kind.restore(workload, tmp_path, lambda name: None)
    assert result.outcome is Outcome.FAILED
    assert "does not answer" in result.reason


@pytest.mark.parametrize("unit", ["", f"{places.OWN}0123456789ab.service"])
def test_a_process_that_is_no_service_is_noted_as_what_it_is(
    application: Application, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unit: str
) -> None:
    """Also where it lives in a unit of ours since the last update."""
    monkeypatch.setattr(again, "obstacles", lambda pid: [])
    monkeypatch.setattr(paths, "CLAIMED", tmp_path)
    workload = found(monkeypatch, unit)
    kind.save(workload, tmp_path, lambda name: None)
    assert workload.saved
    saved = workload.saved["again"]
    noted = instructions.read(Path(saved["folder"]), saved["digest"])
    assert (noted["uid"], noted["cwd"]) == (os.getuid(), os.getcwd())
    assert noted["exe"] == os.readlink("/proc/self/exe")
