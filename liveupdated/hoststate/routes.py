# SPDX-License-Identifier: LGPL-2.1-or-later
"""Routes of all tables that were put there by hand: with protocol `boot`, which ip(8) gives when
nothing is said, or `static`.  Those of the kernel, of leases, router advertisements and routing
daemons have another (ip-route(8), /etc/iproute2/rt_protos)."""

from liveupdated.hoststate import links, managers
from liveupdated.hoststate.category import Category, Snapshot, run

BY_HAND = ("boot", "static")
# What ip prints of a route's state, which it does not take back.
OF_THE_MOMENT = ("linkdown", "dead", "offload", "trap", "rt_offload", "rt_trap", "offload_failed")


def snapshot() -> Snapshot:
    """By the words that make the route again, to the family's option."""
    return {
        words: family
        for family in ("-4", "-6")
        for line in run(
            ["ip", family, "-oneline", "-details", "route", "show", "table", "all"]
        ).splitlines()
        if (words := _words(line))
    }


def _words(line: str) -> str:
    """The route's words, or nothing where it is not by hand."""
    words = [word for word in line.replace("\\", " ").split() if word not in OF_THE_MOMENT]
    if "error" in words:
        del words[words.index("error") : words.index("error") + 2]
    if _after(words, "proto") not in BY_HAND or "expires" in words:
        return ""
    if managers.owns_link(_after(words, "dev")):
        return ""
    return " ".join(words)


def _after(words: list[str], name: str) -> str:
    return words[words.index(name) + 1] if name in words[:-1] else ""


def put(key: str, value: str) -> None:
    run(["ip", value, "route", "replace", *key.split()])


CATEGORY = Category(
    name="route",
    title="routes",
    snapshot=snapshot,
    put=put,
    needs=("address",),
    after=links.NETWORK,
    settled=links.configured,
    early=lambda key, value: not links.is_hardware(_after(key.split(), "dev")),
)
