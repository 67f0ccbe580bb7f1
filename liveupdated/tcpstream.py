# SPDX-License-Identifier: LGPL-2.1-or-later
"""TCP connections in CRIU's images: mended where the peer scales no windows (RFC 7323, 2.2).

At the restore the kernel takes the connecting socket for one that will scale, and CRIU 4.2.1 says
nothing to the contrary when nobody scales: restore_tcp_opts() of its sk-tcp.c sets TCPOPT_WINDOW
only when both do.  What the kernel advertises from then on is divided by 2^7 or more, and the peer
takes it as it is: seen with a window of four bytes, one request in eleven seconds.  So the image
is made to say that both scale by nothing, which on the wire is the same as not scaling.

Standard library only.
"""

from pathlib import Path

from liveupdated.criuimage import HEADER, SIZE, entry, fields
from liveupdated.errors import SaveFailed

IMAGES = "tcp-stream-*.img"
"""One a connection: an entry (images/tcp-stream.proto of CRIU), then what was on its way."""
OPT_MASK = 5
SCALES = 4
"""TCPI_OPT_WSCALE of linux/tcp.h."""
RCV_WSCALE_0 = b"\x40\x00"
"""The field `rcv_wscale`, 8, which is not there without SCALES; `snd_wscale` always is."""


def mend(folder: Path) -> None:
    """Mend all connections of the images there.  Raises SaveFailed, OSError."""
    for image in folder.glob(IMAGES):
        data = image.read_bytes()
        if (new := mended(data)) != data:
            image.write_bytes(new)


def mended(data: bytes) -> bytes:
    """The image of a connection as it has to be.  Raises SaveFailed for what is no such image."""
    try:
        start, end = entry(data, HEADER)
        mask = next(field for field in fields(data, start, end) if field.number == OPT_MASK)
    except (ValueError, StopIteration) as error:
        raise SaveFailed("the checkpoint's connections cannot be read", str(error)) from error
    if mask.value & SCALES:
        return data
    message = bytearray(data[start:end]) + RCV_WSCALE_0
    message[mask.start - start] |= SCALES  # its first byte has the lowest bits
    return data[:HEADER] + len(message).to_bytes(SIZE, "little") + message + data[end:]
