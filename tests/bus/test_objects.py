# SPDX-License-Identifier: LGPL-2.1-or-later
"""Kernels, workloads and sessions on the bus, and their object manager."""

import time
from typing import Any

import pytest

from liveupdated import contract
from liveupdated.session import Outcome, State
from tests.bus.conftest import World
from tests.bus.fakes import make_kernel, make_session, make_workload

MANAGER = "org.freedesktop.DBus.ObjectManager"


async def _get_all(world: World, path: str, interface: str) -> dict[str, Any]:
    properties = "org.freedesktop.DBus.Properties"
    [found] = await world.client.call(contract.NAME, path, properties, "GetAll", "s", interface)
    return dict(found)


async def _managed(world: World) -> dict[str, Any]:
    [found] = await world.client.call(contract.NAME, contract.ROOT, MANAGER, "GetManagedObjects")
    return dict(found)


async def test_a_kernel_tells_all_about_itself(world: World) -> None:
    path = contract.object_path("kernel", "7.3.4")
    expected = {
        "Id": "7.3.4",
        "Release": "7.3.4",
        "Build": "#1 SMP",
        "Architecture": "x86_64",
        "Kind": "bzimage",
        "Image": "/boot/vmlinuz-7.3.4",
        "Initrds": ["/boot/ucode.img", "/boot/initrd.img-7.3.4"],
        "CommandLine": "root=/dev/vda quiet",
        "Source": "debian",
        "Features": {"kexec-file": True, "criu": True, "handover": False},
        "Problems": [],
        "Warnings": [],
        "Running": False,
        "Staged": False,
        "Blocked": False,
    }
    assert await _get_all(world, path, contract.KERNEL) == expected
    [rows] = await world.call("ListKernels")
    assert rows[0] == [path, expected]
    assert [row["Running"] for _, row in rows] == [False, True]


async def test_workloads_are_there_once_they_were_found(world: World) -> None:
    path = contract.object_path("workload", "service:redis.service")
    assert path not in await _managed(world)
    [rows] = await world.call("ListWorkloads")
    expected = {
        "Id": "service:redis.service",
        "Kind": "service",
        "Name": "redis.service",
        "Verdict": "carried",
        "Reason": "it was opted in",
        "Source": "/etc/liveupdated/workloads.d/redis.toml",
        "Bytes": 1 << 33,
        "Cost": 1_500_000,
    }
    assert rows[0] == [path, expected]
    assert (await _managed(world))[path] == {contract.WORKLOAD: expected}


async def test_a_session_tells_what_became_of_each_workload_and_where_the_time_went(
    world: World,
) -> None:
    session = make_session("5e55")
    world.backend.listener.session_changed(session)
    path = contract.object_path("session", "5e55")
    found = await _get_all(world, path, contract.SESSION)
    row = found.pop("Workloads")[0]
    assert row["outcome"] == "carried"
    assert row["frozen"] == 20_000_000
    assert row["verdict"] == "carried"
    assert found.pop("Marks")[0] == ["plan-start", session.created_us, 1000000000, "a" * 32, ""]
    phases = {name: duration for name, _, duration, workload in found.pop("Phases") if not workload}
    assert phases["save"] == 2_000_000
    assert sum(phases.values()) == 23_000_000
    assert found == {
        "Id": "5e55",
        "State": "confirmed",
        "Road": "update",
        "Rung": "live-update",
        "Reason": "",
        "Created": session.created_us,
        "OriginKernel": "6.12.1",
        "TargetKernel": "7.3.4",
        "ArrivalKernel": "7.3.4",
        "Carrier": "disk",
        "Stop": "orderly",
        "PredictedBlackout": 21_000_000,
        "Blackout": 20_000_000,
        "Outcomes": {"carried": 2},
        "Notes": ["the clock is right"],
        "ClockSteps": [],
        "Uncertainty": found["Uncertainty"],
        "TimelineNotes": found["TimelineNotes"],
    }


async def test_a_session_that_comes_further_says_so(world: World) -> None:
    session = make_session("5e55", State.RESTORED)
    world.backend.listener.session_changed(session)
    path = contract.object_path("session", "5e55")
    await world.watch("PropertiesChanged", "org.freedesktop.DBus.Properties", path)
    session.state = State.DEGRADED
    session.workloads[0].outcome = Outcome.FAILED
    world.backend.listener.session_changed(session)
    await world.settle()
    _, changed, invalidated = world.signals[0].args
    assert changed["State"] == "degraded"
    assert changed["Outcomes"] == {"carried": 1, "failed": 1}
    assert {"Workloads", "Marks", "Phases"} <= set(invalidated)


async def test_sessions_are_listed_newest_first_without_what_is_big(world: World) -> None:
    old, new = make_session("01d"), make_session("2e3")
    world.backend.known_sessions = [old]
    assert len((await world.call("ListSessions"))[0]) == 1
    world.backend.known_sessions = [new, old]
    world.backend.listener.session_changed(new)
    [rows] = await world.call("ListSessions")
    assert [row["Id"] for _, row in rows] == ["2e3", "01d"]
    assert "Workloads" not in rows[0][1]
    world.backend.known_sessions = [new]
    world.backend.listener.session_removed("01d")
    assert len((await world.call("ListSessions"))[0]) == 1


async def test_objects_come_and_go_from_the_object_manager(world: World) -> None:
    for member in ("InterfacesAdded", "InterfacesRemoved"):
        await world.watch(member, MANAGER, contract.ROOT)
    world.backend.known_kernels = [make_kernel("7.4.0"), make_kernel("6.12.1", running=True)]
    world.backend.listener.kernels_changed()
    await world.settle()
    await world.settle()
    by_member = {s.member: s for s in world.signals}
    assert all(s.path == contract.ROOT for s in world.signals)
    gone, new = contract.object_path("kernel", "7.3.4"), contract.object_path("kernel", "7.4.0")
    assert by_member["InterfacesRemoved"].args == [gone, [contract.KERNEL]]
    path, interfaces = by_member["InterfacesAdded"].args
    assert path == new
    assert interfaces[contract.KERNEL]["Release"] == "7.4.0"
    managed = await _managed(world)
    assert set(managed) == {new, contract.object_path("kernel", "6.12.1")}
    assert managed[new] == interfaces


async def test_a_workload_with_another_verdict_changes_in_place(world: World) -> None:
    await world.call("ListWorkloads")
    path = contract.object_path("workload", "service:redis.service")
    await world.watch("PropertiesChanged", "org.freedesktop.DBus.Properties", path)
    changed = make_workload("redis.service")
    changed.bytes = 5
    world.backend.listener.workloads_changed([changed])
    await world.settle()
    assert world.signals[0].args == [contract.WORKLOAD, {"Bytes": 5}, []]
    assert contract.object_path("workload", "service:counter.service") not in world.server.objects


async def test_an_image_rebuilt_under_the_same_id_is_a_new_object(world: World) -> None:
    for member in ("InterfacesAdded", "InterfacesRemoved"):
        await world.watch(member, MANAGER, contract.ROOT)
    world.backend.known_kernels = [make_kernel("7.3.4", problems=("truncated",))]
    await world.call("ListKernels")
    await world.settle()
    path = contract.object_path("kernel", "7.3.4")
    assert [s.member for s in world.signals if s.args[0] == path] == [
        "InterfacesRemoved",
        "InterfacesAdded",
    ]


async def test_a_broken_refresh_is_logged_and_changes_nothing(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> list[str]:
        raise OSError("disk gone")

    monkeypatch.setattr(world.backend, "blocked", broken)
    world.backend.listener.kernels_changed()
    await world.settle()
    assert "disk gone" in caplog.text
    assert contract.object_path("kernel", "7.3.4") in await _managed(world)


async def test_a_thousand_of_each_answer_well_within_a_call(world: World) -> None:
    world.backend.known_kernels = [make_kernel(f"7.3.{n}") for n in range(1000)]
    world.backend.known_workloads = [make_workload(f"app@{n}.service") for n in range(1000)]
    world.backend.known_sessions = [make_session(f"{n:032x}", workloads=5) for n in range(1000)]
    start = time.process_time()
    for member in ("ListKernels", "ListWorkloads", "ListSessions"):
        [rows] = await world.call(member)
        assert len(rows) == 1000
    assert len(await _managed(world)) == 3000
    # No call took the 25 s it has.  Of the processor, daemon and client together need 3 s (with
    # dbus-next) for all four; the limit notices what grows with the square of the number.
    assert time.process_time() - start < 12
