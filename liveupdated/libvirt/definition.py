# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a domain's definition (libvirt.org/formatdomain.html) says that it stands on.

The XML comes from libvirt itself.  Standard library only.
"""

import os
from dataclasses import dataclass
from xml.etree import ElementTree

AGENT = "org.qemu.guest_agent.0"
"""The channel of the guest agent (formatdomain.html, Channel)."""


@dataclass(frozen=True)
class Definition:
    """What of a running domain's definition matters here."""

    images: tuple[str, ...]
    """Files and devices of this host, backing files among them."""
    unchecked: tuple[str, ...]
    """Disks that are no files of this host: nothing tells here whether they were written."""
    networks: tuple[str, ...]
    pools: tuple[str, ...]
    links: tuple[str, ...]
    devices: tuple[str, ...]
    """What of the host's devices it was given."""
    agent: bool
    """Whether a guest agent was connected."""


def read(xml: str) -> Definition:
    """Raises ElementTree.ParseError."""
    domain = ElementTree.fromstring(xml)  # noqa: S314  libvirt's own words
    sources = [source for disk in domain.iter("disk") for source in disk.iter("source")]
    files = {source.get("file") or source.get("dev") or "" for source in sources}
    interfaces = [each for each in domain.iter("interface") if each.find("source") is not None]
    ends = [end for each in interfaces for end in each.iter("source")]
    return Definition(
        images=_sorted(files - {os.devnull}),
        unchecked=_sorted(set(map(_elsewhere, sources))),
        networks=_sorted({end.get("network") or "" for end in ends}),
        pools=_sorted({source.get("pool") or "" for source in sources}),
        links=_sorted(
            {end.get("bridge") or end.get("dev") or "" for end in ends if not end.get("network")}
        ),
        devices=tuple(_devices(domain)),
        agent=any(
            target.get("name") == AGENT and target.get("state") == "connected"
            for channel in domain.iter("channel")
            for target in channel.iter("target")
        ),
    )


def _elsewhere(source: ElementTree.Element) -> str:
    """An image on a network, or a volume of a pool."""
    if source.get("pool"):
        return f"{source.get('pool')}/{source.get('volume')}"
    return source.get("name") or ""


def _sorted(names: set[str]) -> tuple[str, ...]:
    return tuple(sorted(names - {""}))


def _devices(domain: ElementTree.Element) -> list[str]:
    """Passed-through devices, by the address that they have on the host."""
    given = [each for each in domain.iter("hostdev") if each.get("type") != "usb"]
    given += [each for each in domain.iter("interface") if each.get("type") == "hostdev"]
    return [_address(each.find("source/address")) or "a device" for each in given]


def _address(address: ElementTree.Element | None) -> str:
    """As the kernel writes it; or the id of a mediated device."""
    if address is None:
        return ""
    if address.get("uuid"):
        return str(address.get("uuid"))
    numbers = [int(address.get(key, "0"), 0) for key in ("domain", "bus", "slot", "function")]
    return "{:04x}:{:02x}:{:02x}.{:x}".format(*numbers)
