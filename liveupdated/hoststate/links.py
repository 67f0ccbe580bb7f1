# SPDX-License-Identifier: LGPL-2.1-or-later
"""Network links: virtual ones made by hand, and MTU, bridge and up or down of all.

Values are JSON, so that a link's settings can be told apart again.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from liveupdated.errors import ServiceError
from liveupdated.hoststate import managers
from liveupdated.hoststate.category import Category, Snapshot, run
from liveupdated.session import Json

NET = Path("/sys/class/net")
NETWORK = (
    "systemd-networkd.service",
    "NetworkManager.service",
    "networking.service",
    "wicked.service",
    "connman.service",
)
"""What sets up the network at boot."""
NETWORKD_RUNS = Path("/run/systemd/netif/state")

# Of a link's `linkinfo.info_data`, by its kind: what `ip link add type KIND` takes under the same
# name (ip-link(8)).  A kind that is not here cannot be made again.
OPTIONS: dict[str, tuple[str, ...]] = {
    "dummy": (),
    "ifb": (),
    "veth": (),
    "bridge": (
        "forward_delay",
        "hello_time",
        "max_age",
        "ageing_time",
        "stp_state",
        "priority",
        "vlan_filtering",
        "vlan_default_pvid",
        "mcast_snooping",
    ),
    "vlan": ("protocol", "id"),
    "macvlan": ("mode",),
    "macvtap": ("mode",),
    "bond": ("mode", "miimon"),
    "vrf": ("table",),
    "tun": ("type", "user", "group", "pi", "vnet_hdr", "multi_queue"),
}
LATER = ("bridge",)
"""Kinds whose options are set one by one once the link is there: a kernel that is built without one
of them refuses that one alone."""
ON_TOP = ("vlan", "macvlan", "macvtap")
"""Made on top of another link."""


def snapshot() -> Snapshot:
    shown: list[Json] = json.loads(run(["ip", "-details", "-json", "link", "show"]) or "[]")
    return {
        name: json.dumps(setting, sort_keys=True)
        for name, setting in sorted(_settings(shown))
        if not managers.owns_link(name) and not managers.owns_link(setting.get("master", ""))
    }


def _settings(shown: list[Json]) -> Iterator[tuple[str, dict[str, Json]]]:
    for link in shown:
        info = link.get("linkinfo", {})
        kind, data = info.get("info_kind", ""), info.get("info_data", {})
        if kind == "tun" and not data.get("persist"):
            continue  # it goes with the process that holds it
        setting: dict[str, Json] = {"up": "UP" in link["flags"], "mtu": link["mtu"]}
        if link.get("master"):
            setting["master"] = link["master"]
        if kind:
            setting["kind"] = kind
            setting |= {name: data[name] for name in OPTIONS.get(kind, ()) if name in data}
            if link.get("link_type") == "ether" and kind != "vlan":
                setting["address"] = link["address"]
            if "link_netnsid" in link:
                setting["elsewhere"] = True
            elif kind in (*ON_TOP, "veth"):
                setting["link"] = link.get("link", "")
        yield link["ifname"], setting


def obstacle(key: str, value: str) -> str:
    setting = json.loads(value)
    kind = setting.get("kind", "")
    if kind and kind not in OPTIONS:
        return f"a link of kind {kind} holds more than can be read back"
    if setting.get("elsewhere"):
        return "its other end is in another network namespace"
    return ""


def put(key: str, value: str) -> None:
    setting = json.loads(value)
    if setting.get("kind") and not (NET / key).exists():
        run(_creation(key, setting))
    current = dict(_settings(json.loads(run(["ip", "-d", "-j", "link", "show", "dev", key]))))[key]
    command = ["ip", "link", "set", "dev", key]
    kind = setting.get("kind", "")
    for option in OPTIONS.get(kind, ()) if kind in LATER else ():
        if option in setting and setting[option] != current.get(option):
            run([*command, "type", kind, option, str(setting[option])])
    if current["mtu"] != setting["mtu"]:
        run([*command, "mtu", str(setting["mtu"])])
    if setting.get("address", "") != current.get("address", ""):
        run([*command, "address", setting["address"]])
    if setting.get("master") != current.get("master"):
        master = setting.get("master")
        run([*command, *(["master", master] if master else ["nomaster"])])
    if setting["up"] != current["up"]:
        run([*command, "up" if setting["up"] else "down"])


def is_hardware(name: str) -> bool:
    """Whether a device is behind the link: what sets up the network at boot comes first there, as
    the first address of a network is the one that is shown to others (ip-address(8), primary)."""
    return (NET / name / "device").exists()


def configured() -> bool:
    """Whether systemd-networkd, where it runs, is through with every link that is its own: it
    drops what it finds there when it sets one up (ManageForeignRoutes= of networkd.conf(5))."""
    if not NETWORKD_RUNS.exists():
        return True
    try:
        shown = json.loads(run(["networkctl", "--json=short", "list"]))
    except ServiceError:
        return False
    states = {link.get("AdministrativeState") for link in shown.get("Interfaces", ())}
    return states.isdisjoint(("pending", "initialized", "configuring"))


def _creation(name: str, setting: dict[str, Json]) -> list[str]:
    kind = setting["kind"]
    if kind == "tun":
        command = ["ip", "tuntap", "add", "dev", name, "mode", setting["type"]]
        for word in ("user", "group"):
            if word in setting:
                command += [word, str(setting[word])]
        return command + [word for word in OPTIONS["tun"][3:] if setting.get(word)]
    command = ["ip", "link", "add"]
    if kind in ON_TOP:
        command += ["link", setting["link"]]
    command += ["name", name]
    if "address" in setting:
        command += ["address", setting["address"]]
    command += ["type", kind]
    if kind == "veth":
        return [*command, "peer", "name", setting["link"]]
    for option in OPTIONS[kind]:
        if option in setting and kind not in LATER:
            command += [option, str(setting[option])]
    return command


CATEGORY = Category(
    name="link",
    title="network links",
    snapshot=snapshot,
    put=put,
    obstacle=obstacle,
    provides=lambda key, value: [f"link:{key}"],
    needs=("module",),
    after=NETWORK,
    settled=configured,
)
