# SPDX-License-Identifier: LGPL-2.1-or-later
"""Parts of open files, and copies of them in memory that the kernel takes as files."""

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Window:
    """`size` bytes of an open file from `start` on.  Reading leaves the file's position alone."""

    fd: int
    start: int
    size: int

    @classmethod
    def whole(cls, fd: int) -> "Window":
        return cls(fd, 0, os.fstat(fd).st_size)

    def part(self, start: int, size: int) -> "Window":
        return Window(self.fd, self.start + start, size)

    def read(self, offset: int, length: int) -> bytes:
        """The bytes there are of the `length` asked for; fewer at the end."""
        length = min(length, self.size - offset)
        data = bytearray()
        while len(data) < length:
            piece = os.pread(self.fd, length - len(data), self.start + offset + len(data))
            if not piece:
                break
            data += piece
        return bytes(data)

    def chunks(self) -> Iterator[bytes]:
        for offset in range(0, self.size, _CHUNK):
            yield self.read(offset, _CHUNK)

    def sha256(self) -> str:
        digest = hashlib.sha256()
        for chunk in self.chunks():
            digest.update(chunk)
        return digest.hexdigest()


def to_memory(name: str, chunks: Iterable[bytes]) -> int:
    """A sealed memfd with these bytes; the caller closes it.  `name` shows in /proc/*/fd."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with os.fdopen(fd, "wb", closefd=False) as file:
            for chunk in chunks:
                file.write(chunk)
        seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd
