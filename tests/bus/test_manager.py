# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every member of the manager, and what it refuses."""

import asyncio
import os

import pytest

from liveupdated import contract
from liveupdated.errors import (
    Busy,
    Cancelled,
    Disconnected,
    Inhibited,
    InvalidArgument,
    NotFound,
    SaveFailed,
)
from liveupdated.session import State
from liveupdated.update.inhibit import Inhibitor
from liveupdated.update.request import Request
from tests.bus.conftest import World, options
from tests.bus.fakes import make_kernel, make_session

ERROR = "org.liveupdate1.Error."
JOB_1 = "/org/liveupdate1/job/_31"


async def test_stage_is_a_job_that_tells_its_progress_and_end(world: World) -> None:
    for member in ("JobNew", "JobRemoved"):
        await world.watch(member)
    number, job = await world.call("Stage", "sa{sv}", "7.3.4", options(append=("s", "quiet")))
    assert (number, job) == (1, JOB_1)
    await world.settle()
    assert [(s.member, s.args) for s in world.signals] == [("JobNew", [1, JOB_1])]
    assert await world.get("Kind", job, "Job") == "stage"
    assert await world.get("Progress", job, "Job") == 0.25
    assert await world.get("Step", job, "Job") == "working on the stage"
    assert await world.get("Cancellable", job, "Job") is True
    assert await world.get("Result", job, "Job") == ""
    assert world.backend.asked[-1] == ("stage", Request(kernel="7.3.4", append="quiet"))

    world.backend.finish.set()
    await asyncio.sleep(0)
    await world.settle()
    assert (world.signals[-1].member, world.signals[-1].args) == ("JobRemoved", [1, job, "done"])
    assert await world.get("Result", job, "Job") == "done"


async def test_progress_is_signalled(world: World) -> None:
    await world.watch("PropertiesChanged", "org.freedesktop.DBus.Properties", JOB_1)
    await world.call("Rehearse", "a{sv}", options(accept_loss=("as", ["service:x"])))
    await world.settle()
    interface, changed, gone = world.signals[0].args
    assert interface == contract.JOB
    assert changed == {"Progress": 0.25, "Step": "working on the rehearse"}
    assert gone == []
    assert world.backend.asked[-1] == ("rehearse", Request(accept_loss=("service:x",)))


async def test_a_failed_job_tells_why(world: World) -> None:
    await world.watch("JobRemoved")
    world.backend.fault = SaveFailed("redis.service cannot be saved", "CRIU: no", "stop it first")
    world.backend.finish.set()
    await world.call("Update", "a{sv}", {})
    await world.settle()
    await world.settle()
    assert world.signals[0].args == [1, JOB_1, "failed"]
    assert await world.get("ErrorName", JOB_1, "Job") == ERROR + "SaveFailed"
    sentence = "redis.service cannot be saved: CRIU: no (stop it first)"
    assert await world.get("Error", JOB_1, "Job") == sentence


async def test_a_job_that_fails_unexpectedly_tells_nothing_of_the_code(world: World) -> None:
    world.backend.fault = ZeroDivisionError("secret detail")
    world.backend.finish.set()
    await world.call("Update", "a{sv}", {})
    await world.settle()
    assert await world.get("ErrorName", JOB_1, "Job") == ERROR + "Failed"
    assert "secret" not in await world.get("Error", JOB_1, "Job")


async def test_update_takes_its_options(world: World) -> None:
    given = options(
        kernel=("s", "7.3.4"),
        rung=("s", "live-update"),
        accept_loss=("as", ["*"]),
        max_blackout=("t", 30_000_000),
        stop=("s", "quick"),
        when=("s", "window"),
    )
    await world.call("Update", "a{sv}", given)
    await world.settle()
    request = Request("7.3.4", "live-update", ("*",), 30_000_000, "quick", "window")
    assert world.backend.asked[-1] == ("update", request)


async def test_rollback(world: World) -> None:
    number, job = await world.call("Rollback", "a{sv}", options(max_blackout=("t", 1)))
    await world.settle()
    assert (number, job) == (1, JOB_1)
    assert world.backend.asked[-1] == ("rollback", Request(max_blackout_us=1))


async def test_a_second_job_is_refused_and_told_of_the_first(world: World) -> None:
    await world.call("Update", "a{sv}", {})
    await world.settle()
    refusal = "the update job 1 is under way: working on the update"
    for member in ("Update", "Unstage", "Rehearse", "Rollback", "Confirm"):
        with pytest.raises(Busy, match=refusal):
            await world.call(member, "a{sv}", {})
    with pytest.raises(Busy, match=refusal):
        await world.call("Stage", "sa{sv}", "", {})


async def test_a_job_is_cancelled_once_and_then_over(world: World) -> None:
    await world.watch("JobRemoved")
    _, job = await world.call("Update", "a{sv}", {})
    cancel = (contract.NAME, job, contract.JOB, "Cancel")
    assert await world.client.call(*cancel) == []
    await world.settle()
    assert world.signals[0].args == [1, job, "canceled"]
    assert await world.get("ErrorName", job, "Job") == ERROR + "Cancelled"
    with pytest.raises(NotFound):
        await world.client.call(*cancel)
    await world.call("Stage", "sa{sv}", "", {})  # the way is free again


async def test_a_job_cancelled_before_its_first_step_is_over_too(world: World) -> None:
    job = world.backend.jobs.start("update", lambda job: world.backend.update(job, Request()))
    job.cancel()
    with pytest.raises(Cancelled):
        await job.wait()
    assert world.backend.jobs.current is None


async def test_a_job_past_the_point_of_no_return_is_not_cancelled(world: World) -> None:
    _, path = await world.call("Update", "a{sv}", {})
    await world.settle()
    job = world.backend.jobs.current
    assert job is not None
    job.pass_no_return("the host is going down")
    assert await world.get("Cancellable", path, "Job") is False
    with pytest.raises(Busy, match="the host is going down"):
        await world.client.call(contract.NAME, path, contract.JOB, "Cancel")
    world.backend.finish.set()
    await job.wait()


async def test_a_finished_job_is_readable_for_a_while_and_then_gone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = type(world.daemon._objects)
    monkeypatch.setitem(objects.job_removed.__globals__, "JOB_LINGERS_S", 0.05)
    world.backend.finish.set()
    _, job = await world.call("Stage", "sa{sv}", "", {})
    await world.settle()
    assert await world.get("Result", job, "Job") == "done"
    [rows] = await world.call("ListJobs")
    assert [path for path, _ in rows] == [job]
    await asyncio.sleep(0.1)
    assert await world.call("ListJobs") == [[]]


async def test_unstage_returns_when_it_is_done(world: World) -> None:
    assert await world.call("Unstage", "a{sv}", {}) == []
    assert world.backend.asked[-1] == ("unstage", None)


async def test_plan(world: World) -> None:
    given = options(kernel=("s", "7.3.4"), max_blackout=("t", 5), accept_loss=("as", []))
    summary, workloads = await world.call("Plan", "a{sv}", given)
    assert summary == {
        "kernel": "7.3.4",
        "release": "7.3.4",
        "rung": "live-update",
        "rung-reason": "a newer kernel is there",
        "blackout": 21_000_000,
        "bytes": 1 << 33,
        "free-bytes": 1 << 40,
        "carrier": "disk",
        "carrier-reason": "not pmem: nothing is mounted",
        "stop": "quick",
        "blockers": ["service:x cannot be carried"],
        "candidates": [["redis.service", "256 MiB of memory"]],
    }
    assert workloads[0] == {
        "id": "service:redis.service",
        "kind": "service",
        "name": "redis.service",
        "source": "/etc/liveupdated/workloads.d/redis.toml",
        "verdict": "carried",
        "reason": "it was opted in",
        "bytes": 1 << 33,
        "cost": 1_500_000,
    }
    assert world.backend.asked[-1] == ("plan", Request("7.3.4", "", (), 5))


async def test_confirm_block_schedule_unschedule(world: World) -> None:
    await world.watch("PropertiesChanged", "org.freedesktop.DBus.Properties")
    await world.call("Confirm", "a{sv}", {})
    assert world.backend.asked[-1] == ("confirm", None)

    await world.call("Block", "sa{sv}", "7.3.4", {})
    path = contract.object_path("kernel", "7.3.4")
    assert await world.get("Blocked", path, "Kernel") is True
    with pytest.raises(NotFound):
        await world.call("Block", "sa{sv}", "1.0", {})
    await world.call("Unblock", "sa{sv}", "7.3.4", {})
    assert await world.get("Blocked", path, "Kernel") is False

    [when] = await world.call("Schedule", "sa{sv}", "Sun 04:00", {})
    assert when == await world.get("NextUpdate") == 1_800_000_000_000_000
    with pytest.raises(InvalidArgument, match="see systemd"):
        await world.call("Schedule", "sa{sv}", "whenever", {})
    await world.call("Unschedule", "a{sv}", {})
    assert await world.get("NextUpdate") == 0
    await world.settle()
    changes = [(s.path, s.args[1]) for s in world.signals]
    assert (path, {"Blocked": True}) in changes
    assert (contract.ROOT, {"NextUpdate": 1_800_000_000_000_000}) in changes
    assert changes[-1] == (contract.ROOT, {"NextUpdate": 0})


@pytest.mark.parametrize(
    ("member", "given", "complaint"),
    [
        ("Update", options(hurry=("b", True)), "has no option 'hurry'"),
        ("Update", options(kernel=("u", 1)), "'kernel' of Update has type 's', not 'u'"),
        ("Update", options(accept_loss=("s", "x")), "'accept-loss' of Update has type 'as'"),
        ("Update", options(max_blackout=("i", 5)), "has type 't', not 'i'"),
        ("Update", options(rung=("s", "ladder")), "cannot be 'ladder'"),
        ("Update", options(stop=("s", "never")), "it is one of quick, orderly"),
        ("Update", options(when=("s", "later")), "cannot be 'later'"),
        ("Plan", options(when=("s", "now")), "has no option 'when'"),
        ("Rehearse", options(kernel=("s", "")), "has no option 'kernel'"),
        ("Unstage", options(x=("s", "")), "it knows none"),
        ("Confirm", options(x=("s", "")), "has no option 'x'"),
        ("Unschedule", options(x=("s", "")), "has no option 'x'"),
        ("Rollback", options(kernel=("s", "")), "has no option 'kernel'"),
    ],
)
async def test_an_option_that_does_not_fit_is_refused(
    world: World, member: str, given: dict[str, contract.Variant], complaint: str
) -> None:
    with pytest.raises(InvalidArgument, match=complaint):
        await world.call(member, "a{sv}", given)
    assert world.backend.jobs.current is None


async def test_options_of_methods_with_an_argument_are_checked_too(world: World) -> None:
    for member, argument in [("Stage", ""), ("Block", "7.3.4"), ("Schedule", "daily")]:
        with pytest.raises(InvalidArgument, match="has no option 'x'"):
            await world.call(member, "sa{sv}", argument, options(x=("s", "")))
    assert world.backend.never == []


async def test_an_unknown_kernel_is_refused_at_once(world: World) -> None:
    with pytest.raises(NotFound, match=r"there is no kernel '1\.0'"):
        await world.call("Stage", "sa{sv}", "1.0", {})
    with pytest.raises(NotFound):
        await world.call("Update", "a{sv}", options(kernel=("s", "1.0")))
    assert world.backend.jobs.current is None


async def test_a_block_inhibitor_is_held_by_its_descriptor(world: World) -> None:
    await world.watch("PropertiesChanged", "org.freedesktop.DBus.Properties", contract.ROOT)
    [fd] = await world.call("Inhibit", "sss", "backup", "copies the disk", "block")
    me = ["backup", "copies the disk", "block", os.getuid(), os.getpid()]
    assert await world.get("Inhibitors") == [me]
    for member in ("Update", "Rehearse", "Rollback"):
        with pytest.raises(Inhibited, match=r"backup \(uid 0\): copies the disk"):
            await world.call(member, "a{sv}", {})
    await world.call("Stage", "sa{sv}", "", {})  # arms, but nothing jumps
    os.close(fd)
    await world.settle()
    assert await world.get("Inhibitors") == []
    changes = [s.args[1]["Inhibitors"] for s in world.signals]
    assert changes == [[me], []]


async def test_a_delay_inhibitor_is_waited_for(world: World) -> None:
    [fd] = await world.call("Inhibit", "sss", "database", "flushes", "delay")
    world.backend.inhibitors.refuse_if_blocked()
    blocks = await world.call("Inhibit", "sss", "backup", "copies", "block")
    [late] = await world.backend.inhibitors.wait_for_delays(0.01)
    assert late.startswith("database (pid ") and "has not released" in late
    os.write(fd, b"what a holder writes is thrown away")
    asyncio.get_running_loop().call_later(0.02, os.close, fd)
    assert await world.backend.inhibitors.wait_for_delays(5) == []  # only `delay` delays
    os.close(blocks[0])


async def test_whoever_ends_instead_of_releasing_is_named(world: World) -> None:
    holder = await asyncio.create_subprocess_exec("sleep", "60")
    fd = world.backend.inhibitors.take(Inhibitor("database", "flushes", "delay", 0, holder.pid))
    waiting = asyncio.create_task(world.backend.inhibitors.wait_for_delays(5))
    await asyncio.sleep(0)
    holder.kill()
    await holder.wait()
    os.close(fd)
    assert await waiting == [f"database (pid {holder.pid}) ended with its delay inhibitor"]


async def test_an_inhibitor_ends_with_its_holder(world: World) -> None:
    command = ["call", contract.NAME, contract.ROOT, contract.MANAGER, "Inhibit", "sss"]
    holder = await asyncio.create_subprocess_exec(
        "busctl",
        f"--address={world.system.address}",
        *command,
        "who",
        "why",
        "block",
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await holder.wait() == 0
    await world.settle()
    assert await world.get("Inhibitors") == []


async def test_an_inhibitor_that_does_not_fit_is_refused(world: World) -> None:
    with pytest.raises(InvalidArgument, match="mode 'stop' is unknown"):
        await world.call("Inhibit", "sss", "w", "y", "stop")
    with pytest.raises(InvalidArgument, match="1000 characters"):
        await world.call("Inhibit", "sss", "w", "y" * 1001, "block")
    assert await world.get("Inhibitors") == []


async def test_properties(world: World) -> None:
    expected = {
        "Version": "0.1.0",
        "State": "idle",
        "RunningKernel": "6.12.1",
        "StagedKernel": "",
        "Rung": "live-update",
        "RebootRequired": True,
        "NextUpdate": 0,
        "LastSession": "/",
        "Inhibitors": [],
    }
    properties = "org.freedesktop.DBus.Properties"
    [found] = await world.client.call(
        contract.NAME, contract.ROOT, properties, "GetAll", "s", contract.MANAGER
    )
    assert found == expected
    for name, value in expected.items():
        assert await world.get(name) == value


async def test_a_staged_kernel_shows_at_the_manager_and_at_the_kernel(world: World) -> None:
    await world.watch("PropertiesChanged", "org.freedesktop.DBus.Properties")
    world.backend.staged_kernel = "7.3.4"
    world.backend.state = "staging"
    world.backend.listener.changed("StagedKernel", "State")
    await world.settle()
    path = contract.object_path("kernel", "7.3.4")
    assert [(s.path, s.args[1]) for s in world.signals] == [
        (contract.ROOT, {"StagedKernel": "7.3.4", "State": "staging"}),
        (path, {"Staged": True}),
    ]
    assert await world.get("Staged", path, "Kernel") is True


async def test_update_signals(world: World) -> None:
    for member in ("PrepareForUpdate", "SessionFinished"):
        await world.watch(member)
    session = make_session("5e55", State.CONFIRMED)
    world.backend.last_session = session.id
    world.backend.listener.prepare_for_update(True)
    world.backend.listener.session_changed(session)
    world.backend.listener.session_finished(session)
    world.backend.listener.prepare_for_update(False)
    await world.settle()
    path = contract.object_path("session", "5e55")
    assert [(s.member, s.args) for s in world.signals] == [
        ("PrepareForUpdate", [True]),
        ("SessionFinished", [path, "confirmed"]),
        ("PrepareForUpdate", [False]),
    ]
    assert await world.get("LastSession") == path


async def test_two_daemons_do_not_share_the_name(world: World) -> None:
    bus_module = world.modules["liveupdated.bus"]
    other = await bus_module.Bus.connect(world.system.address)
    with pytest.raises(Exception, match=r"the bus name org\.liveupdate1 is taken"):
        await other.request_name(contract.NAME)
    await other.close()


async def test_without_the_daemon_a_call_says_so(world: World) -> None:
    with pytest.raises(Disconnected, match=r"org\.example\.Nobody is not there"):
        await world.client.call("org.example.Nobody", "/", "org.example.I", "M")


async def test_new_kernels_replace_those_that_are_gone(world: World) -> None:
    world.backend.known_kernels = [make_kernel("7.4.0"), make_kernel("6.12.1", running=True)]
    [rows] = await world.call("ListKernels")
    assert [row["Id"] for _, row in rows] == ["7.4.0", "6.12.1"]
    assert contract.object_path("kernel", "7.3.4") not in world.server.objects
