# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may do what: the real polkitd decides, as any user and with a password prompt."""

import asyncio
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from liveupdated import contract, interfaces
from liveupdated.errors import NotAuthorized
from liveupdated.exports import Call
from tests.bus.conftest import World, make_world
from tests.bus.private_bus import ALLOWED_USER, REFUSED_USER, private_bus

MANAGER = (contract.NAME, contract.ROOT, contract.MANAGER)
AGENT = "org.freedesktop.PolicyKit1.AuthenticationAgent"
AGENT_PATH = "/test/agent"
AUTHORITY = (
    "org.freedesktop.PolicyKit1",
    "/org/freedesktop/PolicyKit1/Authority",
    "org.freedesktop.PolicyKit1.Authority",
)

EVERY_METHOD: list[tuple[str, list[str]]] = [
    ("Stage", ["sa{sv}", "", "0"]),
    ("Unstage", ["a{sv}", "0"]),
    ("Plan", ["a{sv}", "0"]),
    ("Update", ["a{sv}", "0"]),
    ("Rehearse", ["a{sv}", "0"]),
    ("Rollback", ["a{sv}", "0"]),
    ("Confirm", ["a{sv}", "0"]),
    ("Block", ["sa{sv}", "7.3.4", "0"]),
    ("Unblock", ["sa{sv}", "7.3.4", "0"]),
    ("Carry", ["sa{sv}", "redis.service", "0"]),
    ("Forget", ["sa{sv}", "redis.service", "0"]),
    ("Schedule", ["sa{sv}", "daily", "0"]),
    ("Unschedule", ["a{sv}", "0"]),
    ("Inhibit", ["sss", "who", "why", "block"]),
    ("ListKernels", []),
    ("ListWorkloads", []),
    ("ListJobs", []),
    ("ListSessions", []),
]


async def _run(command: list[str]) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


def test_every_method_is_tried() -> None:
    assert {name for name, _ in EVERY_METHOD} == set(interfaces.interface(contract.MANAGER).methods)


async def test_a_caller_without_authority_is_refused_everything(world: World) -> None:
    async def refused(name: str, words: list[str]) -> None:
        command = world.system.busctl_as(REFUSED_USER, *MANAGER, name, *words)
        status, output = await _run(command)
        assert status != 0
        assert f"you may not call {name}" in output
        assert "be root, or allow interactive authorization" in output

    await asyncio.gather(*(refused(name, words) for name, words in EVERY_METHOD))
    assert world.backend.asked == [("start", None)]
    assert world.backend.inhibitors.held() == []
    assert world.backend.never == []


async def test_a_caller_without_authority_cannot_cancel_a_job(world: World) -> None:
    _, job = await world.call("Update", "a{sv}", {})
    where = (contract.NAME, job, contract.JOB, "Cancel")
    status, output = await _run(world.system.busctl_as(REFUSED_USER, *where))
    assert status != 0
    assert "you may not call Cancel" in output
    assert world.backend.jobs.current is not None


async def test_leaving_the_interface_out_is_no_way_around(world: World) -> None:
    asked: list[Call] = []

    async def ask(call: Call) -> None:
        asked.append(call)
        raise NotAuthorized("no")

    world.server.authorize = ask
    with pytest.raises(NotAuthorized):
        await world.server.dispatch(Call(":1.1", False, contract.ROOT, "", "Update"), "a{sv}", [{}])
    assert asked == [Call(":1.1", False, contract.ROOT, contract.MANAGER, "Update")]


async def test_a_caller_whom_the_rules_allow_may(world: World) -> None:
    status, output = await _run(
        world.system.busctl_as(ALLOWED_USER, *MANAGER, "Stage", "sa{sv}", "", "0")
    )
    assert (status, output) == (0, 'uo 1 "/org/liveupdate1/job/_31"\n')


async def test_everybody_may_read_properties(world: World) -> None:
    properties = (contract.NAME, contract.ROOT, "org.freedesktop.DBus.Properties")
    status, output = await _run(
        world.system.busctl_as(REFUSED_USER, *properties, "Get", "ss", contract.MANAGER, "State")
    )
    assert (status, output) == (0, 'v s "idle"\n')


async def test_only_root_may_own_the_name(world: World) -> None:
    bus = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
    status, output = await _run(
        world.system.busctl_as(REFUSED_USER, *bus, "RequestName", "su", contract.NAME, "2")
    )
    assert status != 0
    assert "Access denied" in output


async def test_a_method_that_nobody_chose_an_action_for_falls_under_the_strictest(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    polkit = world.modules["liveupdated.api.polkit"]
    monkeypatch.delitem(polkit.ACTIONS, (contract.MANAGER, "ListKernels"))
    status, output = await _run(world.system.busctl_as(REFUSED_USER, *MANAGER, "ListKernels"))
    assert status != 0
    assert "polkit does not grant org.liveupdate1.update" in output


class Agent:
    """A desktop's password prompt whose user knows root's password and takes a while."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.messages: list[str] = []

    async def begin_authentication(self, call: Call, *args: Any) -> None:
        action, message, _, _, cookie, identities = args
        self.messages.append(f"{action}: {message}")
        await asyncio.sleep(0.4)
        kind, details = identities[0]
        response = "AuthenticationAgentResponse2"
        identity = [kind, details]
        await self.world.client.call(*AUTHORITY, response, "us(sa{sv})", 0, cookie, identity)

    async def cancel_authentication(self, call: Call, cookie: str) -> None:
        raise AssertionError("nobody cancels")


def _describe_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = interfaces.Method("BeginAuthentication", "sssa{ss}sa(sa{sv})", "", {})
    cancel = interfaces.Method("CancelAuthentication", "s", "", {})
    described = interfaces.Interface(AGENT, {m.name: m for m in (begin, cancel)}, {}, {}, "")
    ours: Callable[[str], interfaces.Interface] = interfaces.interface
    monkeypatch.setattr(
        interfaces, "interface", lambda name: described if name == AGENT else ours(name)
    )


async def test_a_caller_who_may_be_asked_is_asked_and_has_all_the_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.modules["liveupdated.api.polkit"], "CALL_S", 0.2)
    _describe_agent(monkeypatch)
    agent = Agent(world)
    world.client.export(AGENT_PATH, AGENT, agent)

    async def anybody(call: Call) -> None:
        return

    world.client.authorize = anybody
    command = world.system.busctl_as(REFUSED_USER, *MANAGER, "Update", "a{sv}", "0")
    place = command.index("busctl")
    # Waits to be registered, then becomes busctl: the process is the same.
    waiting = ["sh", "-c", 'read _; exec "$@"', "sh", *command[place:]]
    process = await asyncio.create_subprocess_exec(
        *command[:place],
        *waiting,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    subject = ["unix-process", {"pid": contract.Variant("u", process.pid)}]
    subject[1] |= {"start-time": contract.Variant("t", 0)}  # type: ignore[operator]
    await world.client.call(
        *AUTHORITY, "RegisterAuthenticationAgent", "(sa{sv})ss", subject, "C", AGENT_PATH
    )
    output, _ = await process.communicate(b"go\n")
    assert output.decode() == 'uo 1 "/org/liveupdate1/job/_31"\n'
    assert agent.messages == [
        "org.liveupdate1.update: "
        "Authentication is required to move the running system onto another kernel."
    ]


async def test_without_polkit_root_may_and_nobody_else(library: dict[str, ModuleType]) -> None:
    with private_bus(polkit=False) as system:
        async with make_world(system, library) as world:
            assert len((await world.call("ListKernels"))[0]) == 2
            status, output = await _run(system.busctl_as(REFUSED_USER, *MANAGER, "ListKernels"))
            assert status != 0
            assert "you may not call ListKernels" in output
