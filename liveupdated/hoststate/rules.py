# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rules of policy routing that are not the kernel's own (ip-rule(8))."""

from liveupdated.hoststate import links
from liveupdated.hoststate.category import Category, Snapshot, run

KERNEL, NOBODY = "kernel", "unspec"
OF_THE_MOMENT = ("[detached]", "[unresolved]")


def snapshot() -> Snapshot:
    """By the words that make the rule again, to the family's option."""
    return {
        told: family
        for family in ("-4", "-6")
        for line in run(["ip", family, "-details", "rule", "show"]).splitlines()
        if (told := described(line))
    }


def described(line: str) -> str:
    preference, _, rest = line.partition(":")
    words = " ".join(word for word in rest.split() if word not in OF_THE_MOMENT)
    if words.endswith(f"proto {KERNEL}"):
        return ""
    return f"pref {preference} {words.removesuffix(f' proto {NOBODY}')}"


def put(key: str, value: str) -> None:
    run(["ip", value, "rule", "add", *key.split()])


CATEGORY = Category(
    name="rule",
    title="routing rules",
    snapshot=snapshot,
    put=put,
    needs=("link",),
    after=links.NETWORK,
    settled=links.configured,
)
