# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a checkpoint will take, as seen from real processes."""

import subprocess
import sys

from liveupdated import checkpoint

MIB = 1 << 20
SHARED = 64 * MIB
PAIR = f"""\
import mmap, os, signal
memory = mmap.mmap(-1, {SHARED})
memory[:] = bytes({SHARED})
child = os.fork()
if not child:
    bytes(memory)
    print(os.getpid(), flush=True)
signal.pause()
"""


def test_shared_memory_is_counted_once() -> None:
    with subprocess.Popen([sys.executable, "-c", PAIR], stdout=subprocess.PIPE, text=True) as one:
        assert one.stdout
        pids = [one.pid, int(one.stdout.readline())]
        try:
            alone, both = checkpoint.memory_bytes([one.pid]), checkpoint.memory_bytes(pids)
            assert SHARED < alone < SHARED + 64 * MIB
            assert SHARED < both < SHARED + 64 * MIB
        finally:
            for pid in reversed(pids):
                subprocess.run(["kill", "-KILL", str(pid)], check=True)


def test_what_has_ended_needs_nothing() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert checkpoint.memory_bytes([ended.pid]) == 0
