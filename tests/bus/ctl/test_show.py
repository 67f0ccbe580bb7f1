# SPDX-License-Identifier: LGPL-2.1-or-later
"""The commands that only ask: what the daemon says arrives, as JSON and for people."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from liveupdated.ctl import shapes
from liveupdated.errors import SaveFailed
from liveupdated.update.request import Request
from tests.bus.conftest import World
from tests.bus.ctl.conftest import Command
from tests.bus.fakes import make_session


async def test_status(world: World, ctl: Command) -> None:
    done = await ctl("status", "--json")
    assert (done.code, done.err) == (0, "")
    assert set(done.json) == set(shapes.Status.__annotations__)
    assert done.json["state"] == "idle"
    assert done.json["running_kernel"] == "6.12.1"
    assert done.json["reboot_required"] is True
    assert done.json["last_session"] is None
    done = await ctl("status")
    assert "Running:       6.12.1" in done.out
    assert len(done.out.splitlines()) <= 10


async def test_status_tells_of_inhibitors_and_the_last_session(world: World, ctl: Command) -> None:
    session = make_session("5e55")
    world.backend.known_sessions.append(session)
    world.backend.listener.session_changed(session)
    world.backend.last_session = "5e55"
    await world.call("Inhibit", "sss", "backup", "it runs", "block")
    done = await ctl("status", "--json")
    assert done.json["last_session"]["id"] == "5e55"
    assert set(done.json["last_session"]) == set(shapes.Session.__annotations__)
    assert done.json["inhibitors"] == [
        {"who": "backup", "why": "it runs", "mode": "block", "uid": 0, "pid": os.getpid()}
    ]


async def test_status_loads_neither_asyncio_nor_rich(world: World, ctl: Command) -> None:
    """It is what shell prompts and monitoring call."""
    program = """
import sys
from liveupdated.ctl.main import cli
try:
    cli(["status"])
except SystemExit:
    print(*{name.partition(".")[0] for name in sys.modules})
"""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program), env=ctl.environment, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    *lines, loaded = out.decode().splitlines()
    assert "Running:       6.12.1" in lines
    heavy = {"asyncio", "rich", "pydantic", "dbus_next", "dbus_fast", "xml"}
    assert set(loaded.split()) & heavy == set()


async def test_status_without_busctl(world: World, ctl: Command, tmp_path: Path) -> None:
    async with ctl.running("status", "--json", PATH=str(tmp_path)) as process:
        out, _ = await process.communicate()
    assert json.loads(out)["running_kernel"] == "6.12.1"


async def test_kernels(ctl: Command) -> None:
    done = await ctl("kernels", "--json")
    assert [kernel["id"] for kernel in done.json] == ["7.3.4", "6.12.1"]
    assert set(done.json[0]) == set(shapes.Kernel.__annotations__)
    assert done.json[0]["features"]["criu"] is True
    done = await ctl("kernels")
    assert done.out.splitlines()[2].split()[:2] == ["●", "6.12.1"]


async def test_workloads(ctl: Command) -> None:
    done = await ctl("workloads", "--json")
    assert {row["name"] for row in done.json} == {"redis.service", "counter.service"}
    assert set(done.json[0]) == set(shapes.Workload.__annotations__)
    done = await ctl("workloads")
    assert "8.0 GiB" in done.out
    assert "it was opted in" in done.out
    done = await ctl("workloads", "--why", "redis*")
    assert "Decided by:  /etc/liveupdated/workloads.d/redis.toml" in done.out
    assert "counter" not in done.out
    done = await ctl("workloads", "--why", "nothing")
    assert (done.code, "no workload is called nothing" in done.err) == (5, True)


async def test_plan_asks_what_it_was_asked_and_says_no_by_its_exit_code(
    world: World, ctl: Command
) -> None:
    words = ["--kernel", "7.3.4", "--rung", "live-update", "--max-blackout", "30s"]
    done = await ctl("plan", "--json", *words, "--accept-loss", "a*", "--accept-loss", "b")
    assert done.code == 7
    assert world.backend.asked[-1] == (
        "plan",
        Request(
            kernel="7.3.4",
            rung="live-update",
            accept_loss=("a*", "b"),
            max_blackout_us=30_000_000,
        ),
    )
    assert set(done.json) == set(shapes.Plan.__annotations__)
    assert done.json["blockers"] == ["service:x cannot be carried"]
    assert len(done.json["workloads"]) == 2
    assert done.json["candidates"] == [
        {
            "name": "redis.service",
            "why": "256 MiB of memory",
            "command": "liveupdatectl carry redis.service",
        }
    ]
    done = await ctl("plan")
    assert done.code == 7
    assert "Blocked:    service:x cannot be carried" in done.out
    assert "21.0 s, predicted" in done.out


async def test_history_and_one_session(world: World, ctl: Command) -> None:
    world.backend.known_sessions += [make_session("5e55aa"), make_session("5e55bb")]
    for session in world.backend.known_sessions:
        world.backend.listener.session_changed(session)
    done = await ctl("history", "--json")
    assert [session["id"] for session in done.json] == ["5e55aa", "5e55bb"]
    assert done.json[0]["outcomes"] == {"carried": 2}
    last = await ctl("history", "last", "--json")
    assert last.json["id"] == "5e55aa"
    assert set(last.json) == set(shapes.Session.__annotations__) | {"workloads"}
    assert last.json["workloads"][0]["outcome"] == "carried"
    assert last.json["workloads"][0]["frozen_us"] == 20_000_000
    one = await ctl("history", "5e55b")
    assert "6.12.1 → 7.3.4" in one.out
    assert "the clock is right" in one.out


@pytest.mark.parametrize("command", ["history", "timeline"])
async def test_a_session_must_be_named_well(world: World, ctl: Command, command: str) -> None:
    done = await ctl(command, "last")
    assert (done.code, done.err) == (5, "liveupdatectl: there is no session last\n")
    for name in ("5e55aa", "5e55bb"):
        world.backend.known_sessions.append(make_session(name))
        world.backend.listener.session_changed(world.backend.known_sessions[-1])
    done = await ctl(command, "5e55", "--json")
    assert (done.code, done.out) == (2, "")
    assert done.err == "liveupdatectl: 2 sessions begin with 5e55\n  hint: write more\n"


async def test_timeline(world: World, ctl: Command) -> None:
    session = make_session("5e55")
    world.backend.known_sessions.append(session)
    world.backend.listener.session_changed(session)
    done = await ctl("timeline", "--json")
    assert set(done.json) == set(shapes.Timeline.__annotations__)
    top = [p["name"] for p in done.json["phases"] if not p["workload"] and "/" not in p["name"]]
    assert top == ["plan+stage", "save", "stop+kexec", "kernel+initrd+userspace", "restore"]
    assert done.json["duration_us"] == 23_000_000
    assert done.json["blackout_us"] == 20_000_000
    assert len(done.json["marks"]) == len(session.marks)
    assert done.json["uncertainty_us"] == 1_000_000
    done = await ctl("timeline")
    assert "stop+kexec" in done.out
    assert "█" in done.out
    assert "may be off by 1 s" in done.out


async def test_pictures_and_report(world: World, ctl: Command, tmp_path: Path) -> None:
    session = make_session("5e55")
    world.backend.known_sessions.append(session)
    world.backend.listener.session_changed(session)
    done = await ctl("timeline", "5e55", "--plot", "-", "--html", f"{tmp_path}/report.html")
    assert (done.code, done.err) == (0, "")
    assert 'data-name="service:redis0.service"' in done.out
    assert "6.12.1 → 7.3.4" in (tmp_path / "report.html").read_text()
    done = await ctl("history", "--plot", f"{tmp_path}/trend.svg")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert "20.0 s, 21.0 s predicted, confirmed" in (tmp_path / "trend.svg").read_text()
    done = await ctl("timeline", "last one", "--plot", f"{tmp_path}/none.svg")
    assert (done.code, done.err) == (
        5,
        "liveupdatectl: there is no session last one\n  hint: liveupdatectl history lists them\n",
    )
    assert not (tmp_path / "none.svg").exists()


async def test_a_poor_locale_gets_an_answer_too(
    world: World, ctl: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make_session("5e55")
    world.backend.known_sessions.append(session)
    world.backend.listener.session_changed(session)
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = await ctl("timeline")
    assert (done.code, done.err) == (0, "")
    assert "stop+kexec" in done.out
    assert "????" in done.out


async def test_an_error_arrives_with_its_code_and_nothing_on_stdout(
    world: World, ctl: Command
) -> None:
    world.backend.fault = SaveFailed("the worker failed", "no such program", "install it")
    done = await ctl("workloads", "--json")
    assert (done.code, done.out) == (22, "")
    assert done.err.startswith("liveupdatectl: the worker failed: no such program")


async def test_the_daemon_is_not_there(world: World, ctl: Command) -> None:
    await world.server.call(
        "org.freedesktop.DBus",
        "/org/freedesktop/DBus",
        "org.freedesktop.DBus",
        "ReleaseName",
        "s",
        "org.liveupdate1",
    )
    done = await ctl("status")
    assert (done.code, done.out) == (27, "")
    assert done.err.startswith("liveupdatectl: the daemon cannot be reached: ")
    assert "hint: systemctl status liveupdated.service" in done.err
