# SPDX-License-Identifier: LGPL-2.1-or-later
"""What real processes stand on."""

import os
import socket
import subprocess
from pathlib import Path

from liveupdated import needs


def test_a_mount_below_which_a_file_is_open(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w"):
        found = needs.of_processes([os.getpid()])
    assert not [need for need in found if need == "path:/"], "the root comes with every boot"
    with open("/dev/shm/needed", "w"):
        found = needs.of_processes([os.getpid()])
    os.unlink("/dev/shm/needed")
    mounted = "/dev/shm" if os.path.ismount("/dev/shm") else "/dev"
    assert f"path:{mounted}" in found


def test_the_nearest_mount_counts() -> None:
    assert needs._longest("/a/b/c", ["/a", "/a/b", "/a/bc"]) == "/a/b"
    assert needs._longest("/a/bc", ["/a/b"]) == ""
    assert needs._longest("/a/b", ["/a/b"]) == "/a/b"


def test_addresses_but_not_loopback() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        found = needs.of_processes([os.getpid()])
    assert "address:127.0.0.1" not in found
    assert not needs._is_of_a_link("::") and not needs._is_of_a_link("::1")
    assert needs._is_of_a_link("10.77.0.1")


def test_a_process_that_ends_meanwhile_needs_nothing() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    here = needs.of_processes([os.getpid()])
    assert needs.of_processes([child.pid, os.getpid()]) == here
    assert needs.of_processes([child.pid]) == []
