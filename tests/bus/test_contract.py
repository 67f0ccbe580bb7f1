# SPDX-License-Identifier: LGPL-2.1-or-later
"""The XML in dbus/ is the truth: introspection returns it, and the code does what it says."""

import asyncio
import inspect
import os
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import pytest

from liveupdated import contract, errors, interfaces
from liveupdated.api import options
from tests.bus.conftest import World
from tests.bus.fakes import make_session
from tests.bus.private_bus import REPO

DOC = "org.gtk.GDBus.DocString"
CLASSES = {
    contract.MANAGER: ("manager", "Manager"),
    contract.KERNEL: ("kernel", "KernelObject"),
    contract.WORKLOAD: ("workload", "WorkloadObject"),
    contract.JOB: ("job", "JobObject"),
    contract.SESSION: ("session", "SessionObject"),
}


def _shape(element: ET.Element) -> object:
    """An element without its white space."""
    attributes = {key: " ".join(value.split()) for key, value in element.attrib.items()}
    return element.tag, attributes, [_shape(child) for child in element]


def _file(name: str) -> ET.Element:
    found = ET.parse(REPO / "dbus" / f"{name}.xml").getroot().find("interface")  # noqa: S314
    assert found is not None
    return found


async def _introspect(world: World, path: str) -> ET.Element:
    [xml] = await world.client.call(
        contract.NAME, path, "org.freedesktop.DBus.Introspectable", "Introspect"
    )
    return ET.fromstring(xml)  # noqa: S314


async def test_introspection_is_the_xml_with_its_documentation(world: World) -> None:
    world.backend.listener.session_changed(make_session("5e55"))
    await world.call("ListWorkloads")
    _, job = await world.call("Stage", "sa{sv}", "", {})
    objects = {
        contract.MANAGER: contract.ROOT,
        contract.KERNEL: contract.object_path("kernel", "7.3.4"),
        contract.WORKLOAD: contract.object_path("workload", "service:redis.service"),
        contract.JOB: job,
        contract.SESSION: contract.object_path("session", "5e55"),
    }
    for name, path in objects.items():
        node = await _introspect(world, path)
        [ours] = [i for i in node.iter("interface") if i.get("name") == name]
        assert _shape(ours) == _shape(_file(name))
        standard = {i.get("name", "").rpartition(".")[2] for i in node.iter("interface")}
        assert {"Peer", "Properties", "Introspectable"} <= standard
        assert ("ObjectManager" in standard) == (path == contract.ROOT)


async def test_introspection_finds_every_object_from_the_root(world: World) -> None:
    async def children(path: str) -> list[str | None]:
        return [node.get("name") for node in (await _introspect(world, path)).findall("node")]

    assert await children("/") == ["org"]
    assert await children("/org") == ["liveupdate1"]
    assert await children(contract.ROOT) == ["kernel"]
    assert await children(f"{contract.ROOT}/kernel") == ["_36_2e12_2e1", "_37_2e3_2e4"]
    assert await children(f"{contract.ROOT}/kernel/_37_2e3_2e4") == []


@pytest.mark.parametrize(
    "command", [["busctl", "introspect"], ["gdbus", "introspect", "--dest"]], ids=lambda c: c[0]
)
async def test_common_tools_read_the_introspection(world: World, command: list[str]) -> None:
    where = [f"--address={world.system.address}"]
    words = [*command, contract.NAME, "--object-path"] if command[0] == "gdbus" else command
    if command[0] == "busctl":
        words = [*command, contract.NAME]
    process = await asyncio.create_subprocess_exec(
        *words[:2], *where, *words[2:], contract.ROOT, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    for word in (b"Rehearse", b"SessionFinished", b"RebootRequired"):
        assert word in output


@pytest.mark.parametrize("name", contract.INTERFACES)
def test_every_member_is_implemented_and_nothing_else(
    library: dict[str, ModuleType], name: str
) -> None:
    import importlib  # noqa: PLC0415 - of the library under test

    module, class_name = CLASSES[name]
    cls = getattr(importlib.import_module(f"liveupdated.api.{module}"), class_name)
    described = interfaces.interface(name)
    methods = {
        key
        for key, value in vars(cls).items()
        if inspect.iscoroutinefunction(value) and not key.startswith("_")
    }
    assert methods == {contract.snake(method) for method in described.methods}
    for method in described.methods.values():
        parameters = list(inspect.signature(getattr(cls, contract.snake(method.name))).parameters)
        wanted = [
            (arg.get("name") or "").replace("-", "_")
            for arg in _file(name).findall(f"method[@name='{method.name}']/arg[@direction='in']")
        ]
        assert parameters == ["self", "call", *wanted]


@pytest.mark.parametrize("name", contract.INTERFACES)
def test_every_method_has_the_polkit_action_that_its_documentation_names(
    library: dict[str, ModuleType], name: str
) -> None:
    actions = library["liveupdated.api.polkit"].ACTIONS
    documented = {
        (name, m.name): m.annotations["org.liveupdate1.Action"]
        for m in interfaces.interface(name).methods.values()
    }
    assert {key: value for key, value in actions.items() if key[0] == name} == documented


def test_every_action_is_in_the_policy_and_the_strictest_is_the_strictest(
    library: dict[str, ModuleType],
) -> None:
    polkit = library["liveupdated.api.polkit"]
    root = ET.parse(REPO / "dbus/org.liveupdate1.policy").getroot()  # noqa: S314
    defaults = {
        action.get("id"): [grant.text for grant in action.findall("defaults/*")]
        for action in root.iter("action")
    }
    assert set(defaults) == set(polkit.ACTIONS.values())
    assert defaults[polkit.STRICTEST] == ["auth_admin"] * 3
    for action in root.iter("action"):
        assert action.findtext("description")
        assert (action.findtext("message") or "").startswith("Authentication is required to ")


@pytest.mark.parametrize("name", contract.INTERFACES)
def test_every_member_and_argument_of_a_dictionary_is_documented(name: str) -> None:
    element = _file(name)
    for member in [*element.iter("method"), *element.iter("signal"), *element.iter("property")]:
        assert member.find(f"annotation[@name='{DOC}']") is not None, member.get("name")
        assert member.find("annotation[@name='org.gtk.GDBus.Since']") is not None
    for arg in element.iter("arg"):
        assert arg.get("name")
        if "{sv}" in arg.get("type", ""):
            assert arg.find(f"annotation[@name='{DOC}']") is not None, arg.get("name")


@pytest.mark.parametrize("name", contract.INTERFACES)
def test_documented_errors_exist(name: str) -> None:
    known = {cls.dbus_name for cls in errors.all_errors()}
    for method in interfaces.interface(name).methods.values():
        assert set(method.annotations.get("org.liveupdate1.Errors", "").split()) <= known


def test_documented_options_are_the_known_ones() -> None:
    for element in _file(contract.MANAGER).iter("method"):
        name = element.get("name", "")
        doc = element.find(f"arg[@name='options']/annotation[@name='{DOC}']")
        if doc is None:
            assert name not in options.BY_METHOD
            continue
        text = doc.get("value", "")
        for option in options.OPTIONS:
            signature = options.OPTIONS[option].signature
            assert (f"{option} ({signature})" in text) == (option in options.BY_METHOD[name]), name


def test_paths_are_escaped_as_systemd_does_it() -> None:
    # The examples of sd_bus_path_encode(3).
    assert contract.object_path("kernel", "foo_bar") == "/org/liveupdate1/kernel/foo_5fbar"
    assert contract.object_path("job", "1") == "/org/liveupdate1/job/_31"
    assert contract.object_path("job", "") == "/org/liveupdate1/job/_"
    assert contract.object_path("workload", "é") == "/org/liveupdate1/workload/_c3_a9"
    assert contract.object_path("workload", "a\udcff") == "/org/liveupdate1/workload/a_ff"


def test_an_installed_package_finds_the_xml_where_packages_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interfaces, "__file__", str(tmp_path / "liveupdated/interfaces.py"))
    (tmp_path / "dbus").mkdir()  # python3-dbus
    assert interfaces.folder() == Path("/usr/share/dbus-1/interfaces")
    monkeypatch.setenv("LIVEUPDATED_INTERFACES", os.fspath(tmp_path))
    assert interfaces.folder() == tmp_path


def test_activation_names_the_unit() -> None:
    text = (REPO / "dbus/org.liveupdate1.service").read_text()
    assert f"Name={contract.NAME}\n" in text
    assert "SystemdService=liveupdated.service\n" in text
