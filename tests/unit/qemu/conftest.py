# SPDX-License-Identifier: LGPL-2.1-or-later
"""Real guests, small ones: a QEMU of their own for each test."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from liveupdated.errors import ServiceError
from liveupdated.qemu.qmp import Monitor
from tests.lab import boot_sector

LIMIT_S = 60.0


class Guest:
    """A QEMU with a guest that counts, and with its files in `folder`."""

    def __init__(self, folder: Path, *more: str) -> None:
        self.folder = folder
        self.image, self.log, self.qmp = folder / "a.img", folder / "log", folder / "qmp"
        if not self.image.exists():
            self.image.write_bytes(boot_sector.IMAGE)
        self.argv = ["qemu-system-x86_64", "-machine", "q35,accel=tcg", "-m", "32", "-nodefaults"]
        self.argv += ["-display", "none", "-name", "guest=small", "-serial", "chardev:s"]
        self.argv += ["-chardev", f"file,id=s,path={self.log},append=on"]
        self.argv += ["-drive", f"if=none,id=d,file={self.image},format=raw"]
        self.argv += ["-device", "ide-hd,drive=d"]
        self.argv += ["-qmp", f"unix:{self.qmp},server=on,wait=off", *more]
        self.qmp.unlink(missing_ok=True)
        self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL)
        self.until(self._listens)

    @property
    def pid(self) -> int:
        return self.process.pid

    def _listens(self) -> bool:
        try:
            Monitor(str(self.qmp), self.pid).close()
        except ServiceError:
            return False
        return True

    def counts(self) -> list[int]:
        return boot_sector.counts(self.log.read_text() if self.log.exists() else "")

    def wait_count(self, more: int = 3) -> None:
        """Until the guest has said so many more numbers."""
        begin = len(self.counts())
        self.until(lambda: len(self.counts()) >= begin + more)

    def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + LIMIT_S
        while not condition():
            assert self.process.poll() is None, "QEMU has ended"
            assert time.monotonic() < end, "it takes too long"
            time.sleep(0.02)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Guest]]:
    """`start(more arguments of QEMU)`: a guest that is ended after the test."""
    with ExitStack() as stack:

        def begin(*more: str) -> Guest:
            guest = Guest(tmp_path, *more)
            stack.callback(guest.end)
            return guest

        yield begin
