# SPDX-License-Identifier: LGPL-2.1-or-later
"""Advice on a real systemd's boot.  A container has no kernel log of its own: that is said, too."""

import json
import re

from tests.lab.container import Container

RESTORE = "liveupdated-restore.service"


def test_the_chain_before_the_restore_is_systemds_own(box: Container) -> None:
    box.run("systemctl is-system-running --wait", check=False)
    found = json.loads(box.run("runuser -u nobody -- liveupdatectl advise --json").stdout)
    [fact] = [fact for fact in found["facts"] if fact["name"] == "before-restore"]
    ours = re.findall(r"after ([^ ,]+) \(", fact["text"])
    shown = box.run(f"systemd-analyze --no-pager critical-chain {RESTORE}").stdout
    # The root slice is there from the first: stamped before or after the start of userspace.
    theirs = [unit for unit in re.findall(r"└─(\S+)", shown) if unit != "-.slice"]
    # It leaves out what took no time where others began at that same moment.
    assert theirs
    assert [unit for unit in ours if unit in theirs] == theirs
    assert any(line.startswith("kernel log: ") for line in found["unread"])


def test_who_is_not_root_is_told_so(box: Container) -> None:
    text = (
        "# Written by `liveupdatectl advise --apply`; `liveupdatectl advise --undo` takes it away."
        '\n[kernels]\ncmdline_add = ["quiet"]\n'
    )
    box.run("mkdir -p /etc/liveupdated/conf.d")
    box.put(text.encode(), "/etc/liveupdated/conf.d/90-advise.toml")
    refused = box.run("runuser -u nobody -- liveupdatectl advise --undo", check=False)
    assert refused.code == 4
    assert "Permission denied" in refused.stderr and "be root" in refused.stderr
    undone = box.run("liveupdatectl advise --undo").stdout
    assert "quiet: no longer added" in undone
    assert box.run("ls /etc/liveupdated/conf.d").stdout == ""
