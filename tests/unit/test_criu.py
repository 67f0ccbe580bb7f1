# SPDX-License-Identifier: LGPL-2.1-or-later
"""What stands in CRIU's way is found in real processes, before anything is frozen."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from liveupdated import criu, obstacles

Start = Callable[[str], int]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a Python program that tells by a file when it is ready; its pid."""
    running: list[subprocess.Popen[bytes]] = []

    def run(code: str) -> int:
        ready = tmp_path / f"ready{len(running)}"
        code = f"import os, socket, sys, time\n{code}\nopen({str(ready)!r}, 'w'); time.sleep(600)"
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        running.append(process)
        while not ready.exists():
            assert process.poll() is None
            time.sleep(0.01)
        return process.pid

    yield run
    for process in running:
        os.killpg(process.pid, 9)
    for process in running:  # one that is traced has ended when its tracer has
        process.communicate()


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A criu that knows everything: the machine that runs the tests need not have one."""
    monkeypatch.setattr(criu, "version", lambda: (99,))
    monkeypatch.setattr(criu, "HOST_PID", os.getpid())


def test_an_ordinary_process_has_no_obstacle(start: Start) -> None:
    pid = start("f = open('/dev/null'); a, b = socket.socketpair(); p = os.pipe()")
    assert criu.obstacles(pid, [pid]) == []


def test_a_child_that_ends_meanwhile_is_no_obstacle(start: Start) -> None:
    pid = start("")
    child = subprocess.Popen(["true"])
    child.wait()
    assert criu.obstacles(pid, [pid, child.pid]) == []
    assert criu.sockets(child.pid) == {}


def test_a_connection_to_somebody_else_is_named(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "peer"
    start(
        f"s = socket.socket(socket.AF_UNIX); s.bind({str(path)!r}); s.listen()\n"
        "import threading; kept = []\n"
        "threading.Thread(target=lambda: kept.append(s.accept())).start()"
    )
    pid = start(f"c = socket.socket(socket.AF_UNIX); c.connect({str(path)!r}); time.sleep(0.5)")
    [found] = criu.obstacles(pid, [pid])
    assert "unix connection" in found and "other end" in found


def test_a_device_is_named(start: Start) -> None:
    pid = start("f = os.open('/dev/ptmx', os.O_RDWR); g = os.open('/dev/tty0', os.O_WRONLY)")
    assert any("the device /dev/tty0" in obstacle for obstacle in criu.obstacles(pid, [pid]))


def test_a_terminal_counts_only_where_its_other_end_is_elsewhere(start: Start) -> None:
    both = start("import pty; a, b = pty.openpty()")
    assert criu.obstacles(both, [both]) == []
    master, slave = os.openpty()
    pid = start(f"f = os.open({os.ttyname(slave)!r}, os.O_RDWR | os.O_NOCTTY)")
    [found] = criu.obstacles(pid, [pid])
    os.close(master)
    os.close(slave)
    assert "the terminal /dev/pts/" in found and "nohup" in found


def test_a_pipe_to_somebody_else_is_named(start: Start) -> None:
    ours, theirs = os.pipe()
    pid = start(f"f = os.open('/proc/{os.getpid()}/fd/{theirs}', os.O_WRONLY)")
    [found] = criu.obstacles(pid, [pid])
    os.close(ours)
    os.close(theirs)
    assert "a pipe open that process" in found and "redirect to files" in found


def test_a_removed_file_that_is_watched_is_named(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "watched"
    pid = start(
        f"import ctypes; f = open({str(path)!r}, 'w'); c = ctypes.CDLL(None)\n"
        f"c.inotify_add_watch(c.inotify_init1(0), {str(path)!r}.encode(), 2); os.unlink(f.name)"
    )
    assert criu.obstacles(pid, [pid]) == [
        f"process {pid} watches a file that was removed (inotify)"
    ]


def test_a_debugger_is_named(start: Start) -> None:
    traced = start("")
    start(f"import ctypes; ctypes.CDLL(None).ptrace(0x4206, {traced}, 0, 0)")  # PTRACE_SEIZE
    [found] = criu.obstacles(traced, [traced])
    assert "is traced by process" in found


def test_a_namespace_of_a_child_is_named(start: Start) -> None:
    new_uts = "ctypes.CDLL(None).unshare(0x04000000); time.sleep(600)"  # CLONE_NEWUTS
    pid = start(f"import ctypes; child = os.fork()\nif not child: {new_uts}")
    [child] = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    while os.readlink(f"/proc/{child}/ns/uts") == os.readlink("/proc/self/ns/uts"):
        time.sleep(0.01)
    [found] = criu.obstacles(pid, [pid, child])
    assert f"process {child} runs in a uts namespace" in found


def test_a_gpu_is_named_as_one() -> None:
    for path in ("/dev/dri/renderD128", "/dev/nvidia0", "/dev/kfd"):
        assert obstacles.device(path).startswith("a GPU")


def test_a_process_of_another_tree_is_named(start: Start) -> None:
    one, two = start(""), start("")
    [found] = criu.obstacles(one, [one, two])
    assert f"process {two} is no descendant" in found


def test_a_child_belongs_to_the_tree(start: Start) -> None:
    pid = start("child = os.fork()\nif not child: time.sleep(600)")
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert criu.obstacles(pid, [pid, *map(int, children)]) == []


def test_a_namespace_is_named_with_the_setting_that_avoids_it() -> None:
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", "echo ready; exec sleep 600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = criu.obstacles(process.pid, [process.pid])
        process.kill()
    assert any("PrivateUsers=no" in obstacle for obstacle in found)


def test_an_old_criu_on_a_new_kernel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("", "", "7.3.4", "", "")))
    monkeypatch.setattr(criu, "version", lambda: (4, 1, 1))
    assert "criu >= 4.2" in criu.obstacles(os.getpid(), [])[0]
    monkeypatch.setattr(criu, "version", lambda: ())
    assert "not installed" in criu.obstacles(os.getpid(), [])[0]


def test_a_descriptor_from_outside_the_mount_namespace_is_external() -> None:
    # As systemd does: standard input is opened before the namespace is made.
    command = ["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /dev; echo ready; sleep 600"]
    with (
        open("/dev/null") as null,
        subprocess.Popen(command, stdin=null, stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdout is not None
        process.stdout.readline()
        found = criu.externals([process.pid])
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            os.kill(int(child), 9)
        process.kill()
    [null_device] = [external for external in found if external.path == "/dev/null"]
    assert null_device.dump == null_device.inherit
    assert null_device.dump.startswith("file[")


def test_the_first_error_of_a_log_is_the_cause(tmp_path: Path) -> None:
    log = tmp_path / "dump.log"
    log.write_text(
        "(00.1) Warn  (criu/a.c:1): hm\n"
        "(00.2) Error (criu/sk-unix.c:9): Can't dump half of stream unix connection.\n"
        "(00.3) Error (criu/cr-dump.c:1): Dumping FAILED.\n"
    )
    assert criu.first_error(log) == "Can't dump half of stream unix connection."
    assert criu.first_error(tmp_path / "none") == ""


def test_memory_without_a_name_is_not_external(start: Start) -> None:
    pid = start("f = os.memfd_create('x')")
    assert criu.externals([pid]) == []
