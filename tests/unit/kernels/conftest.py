# SPDX-License-Identifier: LGPL-2.1-or-later
"""A fake root folder of a fake x86 host."""

import os
from pathlib import Path

import pytest

from liveupdated import paths
from liveupdated.kernels import verify
from tests.unit.kernels.fabricate import BUILD, put

RUNNING = "6.12.1-test"
CMDLINE = "BOOT_IMAGE=/vmlinuz-6.12.1-test root=/dev/vda1 ro quiet"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything the code under test looks at lies below this folder; its files are root's as far
    as the checks are concerned, whoever runs the tests."""
    # tmp_path is the only folder on the way that the checks see, and has mode 0700.
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "STATE", tmp_path / "var/lib/liveupdated")
    monkeypatch.setattr(paths, "BLOCKED_KERNELS", tmp_path / "var/lib/liveupdated/blocked.json")
    loader = tmp_path / "var/lib/liveupdated/loader-cmdline.json"
    monkeypatch.setattr(paths, "LOADER_CMDLINE", loader)
    monkeypatch.setattr(paths, "LEAN_INITRDS", tmp_path / "run/liveupdated/initrd")
    monkeypatch.setattr(paths, "STAGED", tmp_path / "run/liveupdated/staged.json")
    monkeypatch.setattr(paths, "STAGE_REQUEST", tmp_path / "run/liveupdated/stage-request.json")
    monkeypatch.setattr(verify, "TRUSTED_UID", os.getuid())
    host = os.uname_result(("Linux", "host", RUNNING, BUILD, "x86_64"))
    monkeypatch.setattr(os, "uname", lambda: host)
    put(tmp_path / "proc/cmdline", CMDLINE + "\n")
    put(tmp_path / "proc/sys/kernel/pid_max", "4194304\n")
    put(tmp_path / "proc/sys/kernel/ns_last_pid", "5000\n")
    put(tmp_path / "sys/kernel/kexec_loaded", "0\n")
    return tmp_path
