# SPDX-License-Identifier: LGPL-2.1-or-later
"""The commands that change something, their jobs, and how they end."""

import asyncio
import contextlib
import signal

import pytest

from liveupdated import contract
from liveupdated.ctl import shapes
from liveupdated.errors import Cancelled, SaveFailed
from liveupdated.update.jobs import Job
from liveupdated.update.request import Request
from tests.bus.conftest import World
from tests.bus.ctl.conftest import Command, OpenTerminal
from tests.bus.fakes import make_session
from tests.bus.private_bus import private_bus


async def asked(world: World, kind: str) -> object:
    """Wait until the backend was asked for it."""
    async with asyncio.timeout(60):
        while True:
            for what, request in world.backend.asked:
                if what == kind:
                    return request
            await asyncio.sleep(0.01)


def jumps(world: World, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Make updates pass their point of no return, and say when one has."""
    passed = asyncio.Event()
    session = make_session("5e55")

    async def update(job: Job, request: Request) -> None:
        world.backend.known_sessions.append(session)
        world.backend.listener.session_changed(session)
        job.works_on(session.id)
        job.pass_no_return("the host jumps")
        job.report(1, 1, "jumping")
        passed.set()
        await world.backend.finish.wait()
        if world.backend.fault:
            raise world.backend.fault

    monkeypatch.setattr(world.backend, "update", update)
    return passed


async def leave(world: World) -> None:
    """The daemon is gone from the bus, as far as others can tell."""
    bus = "org.freedesktop.DBus"
    await world.server.call(bus, "/org/freedesktop/DBus", bus, "ReleaseName", "s", contract.NAME)


async def test_stage_waits_for_its_job(world: World, ctl: Command) -> None:
    world.backend.finish.set()
    done = await ctl("stage", "7.3.4", "--append", "quiet debug", "--json")
    assert done.code == 0
    assert set(done.json) == set(shapes.Ending.__annotations__)
    assert (done.json["result"], done.json["job"]) == ("done", 1)
    assert world.backend.asked[-1] == ("stage", Request(kernel="7.3.4", append="quiet debug"))


async def test_progress_goes_to_stderr(world: World, ctl: Command) -> None:
    async with ctl.running("rehearse") as process:
        await asked(world, "rehearse")
        assert process.stderr is not None
        assert await process.stderr.readline() == b"working on the rehearse\n"
        world.backend.finish.set()
        out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert out.startswith(b"rehearsed")


async def test_a_failed_job_is_told_by_its_own_error(world: World, ctl: Command) -> None:
    world.backend.fault = SaveFailed("redis.service cannot be saved", "CRIU: no", "stop it")
    world.backend.finish.set()
    done = await ctl("update", "--json")
    assert (done.code, done.out) == (22, "")
    assert "liveupdatectl: redis.service cannot be saved: CRIU: no" in done.err


async def test_update_takes_all_its_options(world: World, ctl: Command) -> None:
    world.backend.finish.set()
    options = [
        "--kernel",
        "7.3.4",
        "--rung",
        "live-update",
        "--max-blackout",
        "1min 30s",
        "--stop",
        "quick",
    ]
    done = await ctl("update", *options, "--accept-loss", "*", "--when", "now", "--append", "x")
    assert done.code == 0
    assert world.backend.asked[-1] == (
        "update",
        Request(
            kernel="7.3.4",
            rung="live-update",
            accept_loss=("*",),
            max_blackout_us=90_000_000,
            stop="quick",
            when="now",
            append="x",
        ),
    )


async def test_a_dry_run_is_a_plan(world: World, ctl: Command) -> None:
    done = await ctl("update", "--dry-run", "--json")
    assert done.code == 7
    assert set(done.json) == set(shapes.Plan.__annotations__)
    assert [what for what, _ in world.backend.asked] == ["start", "plan"]


async def test_unattended_asks_for_the_window(world: World, ctl: Command) -> None:
    world.backend.finish.set()
    done = await ctl("update", "--unattended")
    assert done.code == 0
    assert world.backend.asked[-1] == ("update", Request(when="window"))


async def test_unattended_with_nothing_to_do_is_no_error(world: World, ctl: Command) -> None:
    world.backend.rung = ""
    done = await ctl("update", "--unattended")
    assert (done.code, done.out) == (0, "there was nothing to do\n")
    assert [what for what, _ in world.backend.asked] == ["start"]


async def test_a_second_update_is_refused(world: World, ctl: Command) -> None:
    async with ctl.running("update"):
        await asked(world, "update")
        done = await ctl("update")
    assert done.code == 6
    assert "the update job 1 is under way" in done.err


async def test_the_jump_takes_the_daemon_along(
    world: World, ctl: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = jumps(world, monkeypatch)
    async with ctl.running("update") as process:
        await passed.wait()
        await asyncio.sleep(0.5)
        await leave(world)
        out, err = await process.communicate()
    assert (process.returncode, out) == (0, b"jumping into 7.3.4 now\n")
    assert err == b"jumping\n"


async def test_the_jump_takes_the_terminal_along(
    world: World, ctl: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = jumps(world, monkeypatch)
    async with ctl.running("update", "--json") as process:
        await passed.wait()
        assert process.stderr is not None
        assert await process.stderr.readline() == b"jumping\n"
        process.send_signal(signal.SIGTERM)
        out, _ = await process.communicate()
    assert process.returncode == 0
    assert b'"result": "jumping"' in out
    assert b'"session": "5e55"' in out


async def test_the_jump_takes_the_bus_along(
    world: World, ctl: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = jumps(world, monkeypatch)
    backend = type(world.backend)()
    backend.update = world.backend.update  # type: ignore[method-assign]
    with contextlib.ExitStack() as stack:
        ctl.world.system = stack.enter_context(private_bus())
        server = await world.modules["liveupdated.bus"].Bus.connect(ctl.world.system.address)
        daemon = world.modules["liveupdated.daemon"].Daemon(server, backend)
        await daemon.start()
        async with ctl.running("update") as process:
            await passed.wait()
            assert process.stderr is not None
            assert await process.stderr.readline() == b"jumping\n"
            stack.close()
            out, _ = await process.communicate()
    assert (process.returncode, out) == (0, b"jumping into another kernel now\n")
    world.backend.finish.set()


async def test_a_jump_that_fails_is_an_error_all_the_same(
    world: World, ctl: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    jumps(world, monkeypatch)
    world.backend.fault = SaveFailed("logind refused", "somebody inhibits")
    world.backend.finish.set()
    done = await ctl("update")
    assert (done.code, done.out) == (22, "")


async def test_a_daemon_that_dies_is_no_jump(world: World, ctl: Command) -> None:
    async with ctl.running("update") as process:
        assert process.stderr is not None
        await process.stderr.readline()
        await leave(world)
        out, err = await process.communicate()
    assert (process.returncode, out) == (27, b"")
    assert b"the daemon went away during the job" in err
    world.backend.finish.set()


async def test_an_interrupt_cancels_and_waits_for_the_undoing(world: World, ctl: Command) -> None:
    async with ctl.running("update") as process:
        assert process.stderr is not None
        await process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert (process.returncode, out) == (Cancelled.exit_code, b"")
    assert b"cancelling: what was done is being undone\n" in err
    assert b"liveupdatectl: the update job was cancelled" in err
    assert world.backend.jobs.current is None


async def test_too_late_to_cancel_is_said_and_the_job_goes_on(
    world: World, ctl: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = jumps(world, monkeypatch)
    async with ctl.running("update") as process:
        await passed.wait()
        assert process.stderr is not None
        await process.stderr.readline()
        process.send_signal(signal.SIGINT)
        told = await process.stderr.readline()
        assert told.startswith(b"liveupdatectl: the update job cannot be cancelled any more")
        await leave(world)
        out, _ = await process.communicate()
    assert (process.returncode, out) == (0, b"jumping into 7.3.4 now\n")


async def test_a_terminated_command_leaves_the_job_alone(world: World, ctl: Command) -> None:
    async with ctl.running("update") as process:
        assert process.stderr is not None
        await process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        await process.communicate()
    assert process.returncode == -signal.SIGTERM
    assert world.backend.jobs.current is not None


async def test_cancel_ends_the_job_of_another(world: World, ctl: Command) -> None:
    done = await ctl("cancel")
    assert (done.code, done.err) == (5, "liveupdatectl: no job is under way\n")
    async with ctl.running("update") as process:
        await asked(world, "update")
        assert (await ctl("cancel", "7")).code == 5
        done = await ctl("cancel", "--json")
        assert (done.code, done.json["result"], done.json["job"]) == (0, "cancelling", 1)
        assert await asyncio.wait_for(process.wait(), 60) == Cancelled.exit_code


async def test_short_orders(world: World, ctl: Command) -> None:
    for words in (["unstage"], ["confirm"], ["block", "7.3.4"], ["unschedule"]):
        done = await ctl(*words, "--json")
        assert (done.code, done.json["result"], done.err) == (0, "done", "")
    assert ("unstage", None) in world.backend.asked
    assert ("confirm", None) in world.backend.asked
    assert world.backend.never == ["7.3.4"]
    assert (await ctl("block", "nothing")).code == 5
    assert (await ctl("unblock", "7.3.4")).code == 0
    assert world.backend.never == []
    assert (await ctl("unblock", "7.3.4")).code == 5


async def test_schedule_tells_when(world: World, ctl: Command) -> None:
    done = await ctl("schedule", "Sun 03:30", "--json")
    assert done.json["next_update_us"] == 1_800_000_000_000_000
    assert ("schedule", "Sun 03:30") in world.backend.asked
    done = await ctl("schedule", "Sun 03:30")
    assert done.out == "the next update is asked for at 2027-01-15 08:00:00 UTC\n"
    done = await ctl("schedule", "whenever")
    assert done.code == 2
    assert "see systemd.time(7)" in done.err


async def test_on_a_terminal_the_plan_is_shown_and_blockers_end_it(
    world: World, terminal: OpenTerminal
) -> None:
    window = await terminal("update")
    assert await window.end() == 7
    await window.until("liveupdatectl: the update would be refused: service:x cannot be carried")
    assert "predicted" in window.text
    assert [what for what, _ in world.backend.asked] == ["start", "plan"]


@pytest.fixture
def nothing_blocks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = world.backend.plan

    async def open_plan(request: Request) -> object:
        found = await plan(request)
        return type(found)(blockers=(), workloads=found.workloads)

    monkeypatch.setattr(world.backend, "plan", open_plan)


@pytest.mark.usefixtures("nothing_blocks")
async def test_on_a_terminal_no_is_no(world: World, terminal: OpenTerminal) -> None:
    window = await terminal("update")
    await window.until("Update now? [y/N]")
    window.type("n\r")
    assert await window.end() == 1
    assert [what for what, _ in world.backend.asked] == ["start", "plan"]


@pytest.mark.usefixtures("nothing_blocks")
async def test_on_a_terminal_the_second_ctrl_c_cancels(
    world: World, terminal: OpenTerminal
) -> None:
    window = await terminal("update")
    await window.until("Update now? [y/N]")
    window.type("y\r")
    await window.until("working on the update")
    window.type("\x03")
    await window.until("press Ctrl-C again to cancel the job")
    assert world.backend.jobs.current is not None
    window.type("\x03")
    assert await window.end() == Cancelled.exit_code
    assert world.backend.jobs.current is None


async def test_yes_asks_nothing(world: World, terminal: OpenTerminal) -> None:
    world.backend.finish.set()
    window = await terminal("update", "--yes")
    assert await window.end() == 0
    assert [what for what, _ in world.backend.asked] == ["start", "update"]
