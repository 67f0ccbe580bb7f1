# SPDX-License-Identifier: LGPL-2.1-or-later
"""Addresses that somebody gave to a link: those without an end, and not of the kernel's making."""

import json

from liveupdated.hoststate import links, managers
from liveupdated.hoststate.category import Category, Snapshot, run
from liveupdated.session import Json

FOREVER = 0xFFFFFFFF
"""`valid_life_time` of an address that no lease or router advertisement limits."""


def snapshot() -> Snapshot:
    """By "LINK ADDRESS/PREFIX"."""
    shown: list[Json] = json.loads(run(["ip", "-json", "address", "show"]) or "[]")
    return {
        f"{link['ifname']} {address['local']}/{address['prefixlen']}": _setting(address)
        for link in shown
        if not managers.owns_link(link["ifname"])
        for address in link.get("addr_info", ())
        if "local" in address and not _of_the_kernel(address)
    }


def _of_the_kernel(address: Json) -> bool:
    """Leases and router advertisements end; kernel_lo, kernel_ll, kernel_ra are its own
    (ip-address(8), proto)."""
    return (
        address.get("valid_life_time") != FOREVER
        or address.get("dynamic", False)
        or address.get("temporary", False)
        or str(address.get("protocol", "")).startswith("kernel")
    )


def _setting(address: Json) -> str:
    kept = {"scope": address.get("scope", "global")}
    for name in ("broadcast", "label", "noprefixroute", "metric"):
        if name in address:
            kept[name] = address[name]
    if "address" in address:  # the other end of a point-to-point link
        kept["peer"] = address["address"]
    return json.dumps(kept, sort_keys=True)


def put(key: str, value: str) -> None:
    link, address = key.split(" ")
    setting = json.loads(value)
    command = ["ip", "address", "replace"]
    if "peer" in setting:
        local, _, length = address.partition("/")
        command += [local, "peer", f"{setting['peer']}/{length}"]
    else:
        command += [address]
    command += ["dev", link, "scope", setting["scope"]]
    for name in ("broadcast", "label", "metric"):
        if name in setting and not (name == "label" and ":" in address):
            command += [name, str(setting[name])]
    if setting.get("noprefixroute"):
        command += ["noprefixroute"]
    if ":" in address:
        # It was in use here a moment ago: no second search for a duplicate (ip-address(8)).
        command += ["nodad"]
    run(command)


CATEGORY = Category(
    name="address",
    title="addresses",
    snapshot=snapshot,
    put=put,
    provides=lambda key, value: [f"address:{key.split(' ')[1].partition('/')[0]}"],
    needs=("link", "sysctl"),
    after=links.NETWORK,
    settled=links.configured,
    early=lambda key, value: not links.is_hardware(key.split(" ")[0]),
)
