# SPDX-License-Identifier: LGPL-2.1-or-later
"""Objects offered on the bus, driven by their interfaces' XML, and how a call finds its method.

Knows no D-Bus library: `liveupdated.bus` is this with a connection.  The standard interfaces
(Peer, Introspectable, Properties, ObjectManager) follow the D-Bus specification and are open to
everybody who may send to us: what is a secret is in no property.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from liveupdated import contract, interfaces
from liveupdated.contract import StandardError, Variant, snake
from liveupdated.session import machine_id

_PREFIX = "org.freedesktop.DBus."
_MANAGED = f"{_PREFIX}ObjectManager"

_DOCTYPE = """\
<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">
"""

_COMMON_XML = """\
  <interface name="org.freedesktop.DBus.Peer">
    <method name="Ping"/>
    <method name="GetMachineId"><arg name="machine_id" type="s" direction="out"/></method>
  </interface>
  <interface name="org.freedesktop.DBus.Introspectable">
    <method name="Introspect"><arg name="xml" type="s" direction="out"/></method>
  </interface>
  <interface name="org.freedesktop.DBus.Properties">
    <method name="Get">
      <arg name="interface" type="s" direction="in"/>
      <arg name="property" type="s" direction="in"/>
      <arg name="value" type="v" direction="out"/>
    </method>
    <method name="GetAll">
      <arg name="interface" type="s" direction="in"/>
      <arg name="properties" type="a{sv}" direction="out"/>
    </method>
    <method name="Set">
      <arg name="interface" type="s" direction="in"/>
      <arg name="property" type="s" direction="in"/>
      <arg name="value" type="v" direction="in"/>
    </method>
    <signal name="PropertiesChanged">
      <arg name="interface" type="s"/>
      <arg name="changed" type="a{sv}"/>
      <arg name="invalidated" type="as"/>
    </signal>
  </interface>
"""

_MANAGER_XML = """\
  <interface name="org.freedesktop.DBus.ObjectManager">
    <method name="GetManagedObjects">
      <arg name="objects" type="a{oa{sa{sv}}}" direction="out"/>
    </method>
    <signal name="InterfacesAdded">
      <arg name="object" type="o"/>
      <arg name="interfaces" type="a{sa{sv}}"/>
    </signal>
    <signal name="InterfacesRemoved">
      <arg name="object" type="o"/>
      <arg name="interfaces" type="as"/>
    </signal>
  </interface>
"""

_METHODS = {
    "Ping": ("Peer", "", ""),
    "GetMachineId": ("Peer", "", "s"),
    "Introspect": ("Introspectable", "", "s"),
    "Get": ("Properties", "ss", "v"),
    "GetAll": ("Properties", "s", "a{sv}"),
    "Set": ("Properties", "ssv", ""),
    "GetManagedObjects": ("ObjectManager", "", "a{oa{sa{sv}}}"),
}
"""Name of the method: interface, what it takes, what it gives."""


@dataclass(frozen=True)
class Call:
    """A method call that came in, for those who must know more than its arguments."""

    sender: str
    """The caller's unique name."""
    interactive: bool
    """The caller can wait while somebody types a password."""
    path: str
    interface: str
    member: str


Authorize = Callable[[Call], Awaitable[None]]


async def _nobody(call: Call) -> None:
    raise StandardError("AccessDenied", f"nobody decides who may call {call.member}")


class Exports(ABC):
    """The objects of one connection."""

    def __init__(self) -> None:
        self.announce = False
        """Whether new and removed objects are told to everybody."""
        self.objects: dict[str, dict[str, object]] = {}
        """Path, to name of interface, to implementation."""
        self.authorize: Authorize = _nobody
        """Asked before every method that is not of a standard interface; raises to refuse."""

    @abstractmethod
    def send_signal(
        self, path: str, interface: str, member: str, signature: str, body: list[Any]
    ) -> None:
        """Send it to everybody; without a connection nothing happens."""

    def export(self, path: str, interface: str, implementation: object) -> None:
        """Offer `implementation` at `path`.

        A method ``ListKernels`` is its ``async def list_kernels(self, call, *args)``, which returns
        nothing, the value, or a tuple where the XML has several; a property ``StagedKernel`` its
        attribute ``staged_kernel``.  Raises TypeError when one is missing.
        """
        described = interfaces.interface(interface)
        for member in (*described.methods, *described.properties):
            # The class is asked first, because asking a property runs it.
            if not hasattr(type(implementation), snake(member)):
                getattr(implementation, snake(member))
        self.objects.setdefault(path, {})[interface] = implementation
        if self.announce and path != contract.ROOT:
            body = [path, {interface: self.properties(path, interface)}]
            self.send_signal(contract.ROOT, _MANAGED, "InterfacesAdded", "oa{sa{sv}}", body)

    def unexport(self, path: str) -> None:
        """Offer nothing at `path` any more.  Nothing happens when nothing is there."""
        removed = self.objects.pop(path, None)
        if removed and self.announce:
            body = [path, list(removed)]
            self.send_signal(contract.ROOT, _MANAGED, "InterfacesRemoved", "oas", body)

    def properties(self, path: str, interface: str, big: bool = False) -> dict[str, Variant]:
        """The properties of an object, those that `invalidates` marks only when `big`."""
        implementation = self.objects[path][interface]
        return {
            name: Variant(p.signature, getattr(implementation, snake(name)))
            for name, p in interfaces.interface(interface).properties.items()
            if big or p.emits != "invalidates"
        }

    def properties_changed(self, path: str, interface: str, names: Iterable[str]) -> None:
        """Tell everybody the new values of `names`."""
        described = interfaces.interface(interface).properties
        implementation = self.objects[path][interface]
        values, invalidated = {}, []
        for name in names:
            if described[name].emits == "invalidates":
                invalidated.append(name)
            else:
                value = getattr(implementation, snake(name))
                values[name] = Variant(described[name].signature, value)
        body = [interface, values, invalidated]
        self.send_signal(path, f"{_PREFIX}Properties", "PropertiesChanged", "sa{sv}as", body)

    def emit(self, path: str, interface: str, signal: str, *args: Any) -> None:
        """Send a signal of the contract."""
        signature = interfaces.interface(interface).signals[signal].gives
        self.send_signal(path, interface, signal, signature, list(args))

    async def dispatch(self, call: Call, signature: str, args: list[Any]) -> tuple[str, list[Any]]:
        """Answer `call`: the reply's signature and values.  Raises whatever the method raises."""
        standard = _standard_method(call)
        if standard is not None:
            _check_signature(call, signature, standard.takes)
            return standard.gives, self._standard(call.path, standard.name, args)
        interface, method = self._find(call)
        _check_signature(call, signature, method.takes)
        # With the interface that was found: the caller may have left it out.
        await self.authorize(dataclasses.replace(call, interface=interface))
        implementation = self.objects[call.path][interface]
        result = await getattr(implementation, snake(call.member))(call, *args)
        if not method.gives:
            return "", []
        return method.gives, list(result) if isinstance(result, tuple) else [result]

    def _find(self, call: Call) -> tuple[str, interfaces.Method]:
        offered = self.objects.get(call.path)
        if offered is None:
            raise _unknown_object(call.path)
        if call.interface and call.interface not in offered:
            raise StandardError("UnknownInterface", f"{call.path} has no {call.interface}")
        for name in [call.interface] if call.interface else offered:
            method = interfaces.interface(name).methods.get(call.member)
            if method:
                return name, method
        raise StandardError("UnknownMethod", f"{call.path} has no method {call.member}")

    # --- the standard interfaces ---

    def _standard(self, path: str, member: str, args: list[Any]) -> list[Any]:
        if member == "Ping":
            return []
        if member == "GetMachineId":
            return [machine_id()]
        if member == "Introspect":
            return [self._introspect(path)]
        if path not in self.objects:
            raise _unknown_object(path)
        if member == "Get":
            return [self._get(path, *args)]
        if member == "GetAll":
            return [self._get_all(path, *args)]
        if member == "Set":
            self._get(path, *args[:2])
            raise StandardError("PropertyReadOnly", f"{args[1]} cannot be set")
        return [self._managed(path)]

    def _introspect(self, path: str) -> str:
        prefix = path.rstrip("/") + "/"
        below = (p.removeprefix(prefix) for p in self.objects if p.startswith(prefix))
        children = sorted({name.split("/", 1)[0] for name in below})
        if path not in self.objects and not children:
            raise _unknown_object(path)
        parts = [
            _DOCTYPE,
            "<node>\n",
            _COMMON_XML,
            _MANAGER_XML if path == contract.ROOT else "",
            *(interfaces.interface(name).xml for name in self.objects.get(path, {})),
            *(f'  <node name="{child}"/>\n' for child in children),
            "</node>\n",
        ]
        return "".join(parts)

    def _meant(self, path: str, interface: str) -> list[str]:
        """The interfaces `interface` means: itself, all when empty, none for a standard one."""
        own = self.objects[path]
        if not interface:
            return list(own)
        if interface in own:
            return [interface]
        if interface in {_PREFIX + name for name, _, _ in _METHODS.values()}:
            return []
        raise StandardError("UnknownInterface", f"{path} has no {interface}")

    def _get(self, path: str, interface: str, name: str) -> Variant:
        for candidate in self._meant(path, interface):
            described = interfaces.interface(candidate).properties.get(name)
            if described:
                value = getattr(self.objects[path][candidate], snake(name))
                return Variant(described.signature, value)
        raise StandardError("UnknownProperty", f"{path} has no property {name}")

    def _get_all(self, path: str, interface: str) -> dict[str, Variant]:
        found: dict[str, Variant] = {}
        for name in self._meant(path, interface):
            found |= self.properties(path, name, big=True)
        return found

    def _managed(self, path: str) -> dict[str, dict[str, dict[str, Variant]]]:
        if path != contract.ROOT:
            raise StandardError("UnknownInterface", f"the object manager is {contract.ROOT}")
        return {
            path: {name: self.properties(path, name) for name in own}
            for path, own in self.objects.items()
            if path != contract.ROOT
        }


def _standard_method(call: Call) -> interfaces.Method | None:
    """The method of a standard interface that is called; None when it is one of ours."""
    name, takes, gives = _METHODS.get(call.member, ("", "", ""))
    if name and call.interface in ("", _PREFIX + name):
        return interfaces.Method(call.member, takes, gives, {})
    if call.interface.startswith(_PREFIX):
        raise StandardError("UnknownMethod", f"{call.interface} has no method {call.member}")
    return None


def _check_signature(call: Call, got: str, wanted: str) -> None:
    if got != wanted:
        raise StandardError("InvalidArgs", f"{call.member} takes ({wanted}), not ({got})")


def _unknown_object(path: str) -> StandardError:
    return StandardError("UnknownObject", f"there is no object {path}")
