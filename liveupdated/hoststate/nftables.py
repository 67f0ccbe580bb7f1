# SPDX-License-Identifier: LGPL-2.1-or-later
"""nftables: each table as a whole, as nft(8) lists it."""

import re
import shutil

from liveupdated import tcp
from liveupdated.hoststate import managers
from liveupdated.hoststate.category import Category, Snapshot, run

# It goes with the process that holds it: nft(8), TABLES.
OWNED = re.compile(r"^\tflags .*\bowner\b", re.MULTILINE)
# nft prints what iptables-nft has put there, and cannot read it back.
FOREIGN = re.compile(r"# (xt_\w+|Warning: table .* managed by iptables-nft)|\bxt (match|target)\b")


def snapshot() -> Snapshot:
    """By "FAMILY NAME"; without counters and remaining times (--stateless)."""
    if shutil.which("nft") is None:
        return {}
    found: Snapshot = {}
    for line in run(["nft", "list", "tables"]).splitlines():
        _, family, name = line.split()
        if name.startswith(tcp.PREFIX):  # of a workload that is being carried
            continue
        text = run(["nft", "--stateless", "list", "table", family, name])
        if not managers.owns_table(f"{family} {name}") and not OWNED.search(text):
            found[f"{family} {name}"] = text
    return found


def put(key: str, value: str) -> None:
    """In one transaction: at no moment there is less than before or after."""
    run(["nft", "-f", "-"], f"table {key}\ndelete table {key}\n{value}")


def obstacle(key: str, value: str) -> str:
    if FOREIGN.search(value):
        return "it is iptables' (iptables-nft), which nft cannot put back"
    return ""


CATEGORY = Category(
    name="nftables",
    title="nftables tables",
    snapshot=snapshot,
    put=put,
    obstacle=obstacle,
    needs=("module", "link"),
    after=("nftables.service", "firewalld.service", "ufw.service", "netfilter-persistent.service"),
)
