# SPDX-License-Identifier: LGPL-2.1-or-later
"""Hooks: a ledger that is saved and restored by an administrator's own commands, as its user."""

from tests.lab.qemu import Machine
from tests.vm.kinds import Row

HOOK = b"""\
#!/bin/sh
cd /var/lib/ledger
case $1 in
find) echo '{"present": true, "bytes": 6, "reason": "the ledger of today"}' ;;
save)
    [ ! -e refuse ] || { echo "the ledger is locked" >&2; exit 3; }
    cp book "$LIVEUPDATE_STATE_FOLDER" && rm book ;;
# A save that failed is resumed too.
resume) [ ! -e "$LIVEUPDATE_STATE_FOLDER/book" ] || cp "$LIVEUPDATE_STATE_FOLDER/book" . ;;
restore) cp "$LIVEUPDATE_STATE_FOLDER/book" . && id -un > restored-by ;;
restart) echo afresh > book ;;
fail) [ ! -e broken ] || { echo "the other book is torn" >&2; exit 1; } ;;
esac
"""
RULES = b"""\
[[workload]]
hook = "ledger"
user = "games"
find = ["/opt/ledger/hook", "find"]
save = ["/opt/ledger/hook", "save"]
resume = ["/opt/ledger/hook", "resume"]
restore = ["/opt/ledger/hook", "restore"]
restart = ["/opt/ledger/hook", "restart"]
limit = "2min"
verdict = "carried"

[[workload]]
hook = "torn"
user = "games"
restore = ["/opt/ledger/hook", "fail"]
limit = "2min"
"""
PLANNED = {"hooks:ledger": "carried", "hooks:torn": "restarted"}
OUTCOMES = PLANNED
ALTER = """
touch /var/lib/ledger/broken
folder=$(printf hooks:ledger | sha256sum | cut -c 1-16)
echo forged > /var/lib/liveupdated/current/$folder/state/book
"""
ALTERED = {
    "hooks:ledger": ("restarted", "altered"),
    "hooks:torn": ("failed", "the other book is torn"),
}
REFUSAL = "touch /var/lib/ledger/refuse"
REFUSAL_WORDS = ["save command /opt/ledger/hook failed", "the ledger is locked"]
REFUSAL_UNDO = "rm /var/lib/ledger/refuse"


def furnish(vm: Machine) -> None:
    vm.put(HOOK, "/opt/ledger/hook", 0o755)
    vm.run(
        "mkdir /var/lib/ledger; echo precious > /var/lib/ledger/book; "
        "chown -R games /var/lib/ledger"
    )
    vm.put(RULES, "/etc/liveupdated/workloads.d/ledger.toml")


def assert_goes_on(vm: Machine) -> None:
    assert vm.get("/var/lib/ledger/book") == b"precious\n"


def assert_planned(vm: Machine, rows: dict[str, Row]) -> None:
    assert rows["hooks:ledger"]["reason"] == "the ledger of today"


def assert_returned(vm: Machine, session: Row) -> None:
    assert vm.get("/var/lib/ledger/restored-by") == b"games\n"


def assert_fresh(vm: Machine) -> None:
    assert vm.get("/var/lib/ledger/book") == b"afresh\n"
