# SPDX-License-Identifier: LGPL-2.1-or-later
"""The interfaces of the D-Bus contract, as the XML in ``dbus/`` has them."""

import functools
import os
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from liveupdated import contract

_EMITS = "org.freedesktop.DBus.Property.EmitsChangedSignal"


@dataclass(frozen=True)
class Method:
    """One method of an interface, or a signal (which has no `takes`)."""

    name: str
    takes: str
    gives: str
    annotations: dict[str, str]


@dataclass(frozen=True)
class Property:
    """One property of an interface.  All of ours are read-only."""

    name: str
    signature: str
    emits: str
    """`true`, `const`, or `invalidates`: too big to be sent with every change and every list."""
    annotations: dict[str, str]


@dataclass(frozen=True)
class Interface:
    """One interface, as written."""

    name: str
    methods: dict[str, Method]
    signals: dict[str, Method]
    properties: dict[str, Property]
    xml: str


def folder() -> Path:
    """Where the XML lies: `LIVEUPDATED_INTERFACES`, a source tree, or where packages put it."""
    override = os.environ.get("LIVEUPDATED_INTERFACES")
    if override:
        return Path(override)
    tree = Path(__file__).parent.parent / "dbus"
    # Beside an installed package, "dbus" is somebody else's Python module.
    if (tree / f"{contract.MANAGER}.xml").is_file():
        return tree
    return Path("/usr/share/dbus-1/interfaces")


@functools.cache
def interface(name: str) -> Interface:
    """The interface of that name.  Raises OSError or ET.ParseError when it is not as installed."""
    tree = ET.parse(folder() / f"{name}.xml")  # noqa: S314 - our own file
    element = tree.find("interface")
    if element is None or element.get("name") != name:
        raise ET.ParseError(f"{name}.xml does not describe {name}")
    for annotation in element.iter("annotation"):  # broken over lines to be read
        annotation.set("value", " ".join(annotation.get("value", "").split()))
    return Interface(
        name=name,
        methods={m.get("name", ""): _method(m) for m in element.iter("method")},
        signals={s.get("name", ""): _method(s) for s in element.iter("signal")},
        properties={p.get("name", ""): _property(p) for p in element.iter("property")},
        xml=ET.tostring(element, encoding="unicode"),
    )


def _method(element: ET.Element) -> Method:
    args = [(arg.get("direction"), arg.get("type", "")) for arg in element.iter("arg")]
    return Method(
        name=element.get("name", ""),
        takes="".join(signature for direction, signature in args if direction == "in"),
        gives="".join(signature for direction, signature in args if direction != "in"),
        annotations=_annotations(element),
    )


def _property(element: ET.Element) -> Property:
    annotations = _annotations(element)
    return Property(
        name=element.get("name", ""),
        signature=element.get("type", ""),
        emits=annotations.get(_EMITS, "true"),
        annotations=annotations,
    )


def _annotations(element: ET.Element) -> dict[str, str]:
    return {a.get("name", ""): a.get("value", "") for a in element.findall("annotation")}
