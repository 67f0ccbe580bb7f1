# SPDX-License-Identifier: LGPL-2.1-or-later
"""The floor: nothing but what cannot be left out."""

import socket
import time
from contextlib import suppress

from bench.load import FIRST_PORT, Load
from bench.ways import Ledger, Way, load_kernel, prepare_kexec
from tests.lab.errors import LabError
from tests.lab.qemu import Machine
from tests.vm.guest import JUMP_LIMIT_S

WRITE, READ = "dd/write", "dd/read"
_BYTES = "/dev/shm/floor"  # noqa: S108 - in a machine of the lab
_COPY = "/var/tmp/floor"  # noqa: S108


def bytes_and_kernel(vm: Machine, load: Load) -> Ledger:
    prepare_kexec(vm, load)
    # Not each port: the kernel hands its init no more than 32 words (MAX_INIT_ARGS of init/main.c).
    last = FIRST_PORT + load.services - 1
    load_kernel(vm, f" init=/usr/local/bin/first-answer -- {FIRST_PORT} {last}")
    vm.run(f"head -c {load.mib}M /dev/urandom > {_BYTES}", timeout=JUMP_LIMIT_S)
    return {}


def floor(vm: Machine, load: Load) -> Ledger:
    """The bytes written, a kernel, an answer, the bytes read.

    The old userspace is not stopped, and the new one is a network card and an answer.
    """
    write = _seconds(vm, f"dd if={_BYTES} of={_COPY} bs=1M conv=fsync")
    vm.start(["kexec", "--exec"])
    limit = time.monotonic() + JUMP_LIMIT_S
    while _answer(vm.port(FIRST_PORT)) != "floor":
        if time.monotonic() > limit:
            raise LabError(f"the floor's init does not answer within {JUMP_LIMIT_S:.0f} s")
        time.sleep(0.1)
    return {WRITE: write}


def read_bytes(vm: Machine, load: Load) -> Ledger:
    """After a power cut: nothing of them is in the guest's memory."""
    vm.reset()
    vm.wait_running()
    read = _seconds(vm, f"dd if={_COPY} of=/dev/null bs=1M")
    vm.run(["rm", _COPY])
    return {READ: read}


def _seconds(vm: Machine, command: str) -> float:
    timed = f"start=$(date +%s%N); {command} status=none; echo $(($(date +%s%N) - start))"
    return int(vm.run(timed, timeout=JUMP_LIMIT_S).stdout) / 1e9


def _answer(port: int) -> str:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as sock:
        sock.settimeout(1)
        return sock.recv(64).decode().strip()
    return ""


FLOOR = Way(
    name="floor",
    take=floor,
    prepare=bytes_and_kernel,
    finish=read_bytes,
    beside=(WRITE, READ),
    carrier="disk",
    boots_all=False,
)
