# SPDX-License-Identifier: LGPL-2.1-or-later
"""TCP connections that this host translates (NAT): how it tracks them, read and written again.

A container's published port and its way out both live in the kernel's connection tracking.  A new
kernel that knows nothing of it guesses, from whichever packet comes first, and can guess wrong:
what the container sends first would leave from another port than the peer knows.  So the entries
are written back before the container is.

Spoken over netlink (linux/netfilter/nfnetlink_conntrack.h); conntrack(8) need not be installed.
Standard library only: the launcher reads this on the blackout's clock.
"""

import errno
import os
import socket
import struct
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass

from liveupdated.errors import ServiceError
from liveupdated.session import Json
from liveupdated.tcp import Endpoint

_NETFILTER = 12  # linux/netlink.h, NETLINK_NETFILTER
_NEW, _GET = 1 << 8, 1 << 8 | 1  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_NEW and _GET
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP, _EXCL, _CREATE = 0x1, 0x4, 0x300, 0x200, 0x400
_NESTED = 0x8000

# enum ctattr_type
_ORIG, _REPLY, _STATUS, _PROTOINFO, _NAT_SRC, _TIMEOUT, _NAT_DST = 1, 2, 3, 4, 6, 7, 13
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_V4_SRC, _V4_DST, _V6_SRC, _V6_DST = 1, 2, 3, 4
_PROTO_NUM, _SRC_PORT, _DST_PORT = 1, 2, 3
_TCP, _TCP_STATE, _TCP_FLAGS_ORIG, _TCP_FLAGS_REPLY = 1, 1, 4, 5
_NAT_V4_MIN, _NAT_V4_MAX, _NAT_PROTO, _NAT_V6_MIN, _NAT_V6_MAX = 1, 2, 3, 4, 5
_NAT_PORT_MIN, _NAT_PORT_MAX = 1, 2

_ESTABLISHED = 3
_OPEN_STATES = (_ESTABLISHED, 4, 5)  # enum tcp_conntrack: and one side closed
_BE_LIBERAL = bytes([8, 8])  # IP_CT_TCP_FLAG_BE_LIBERAL and its mask: no window is known any more
_SEEN = 0xE  # IPS_SEEN_REPLY, IPS_ASSURED, IPS_CONFIRMED
_TIMEOUT_S = {_ESTABLISHED: 432_000}  # nf_conntrack_proto_tcp.c
_CLOSING_TIMEOUT_S = 120


@dataclass(frozen=True)
class Tracked:
    """A TCP connection as the kernel tracks it: what it looks like in each direction."""

    source: Endpoint
    destination: Endpoint
    reply_source: Endpoint
    reply_destination: Endpoint
    state: int

    def outside(self, addresses: Collection[str]) -> tuple[Endpoint, Endpoint]:
        """Local end and peer as the world beyond this host sees them; `addresses` are within."""
        if self.source.address in addresses:
            return self.reply_destination, self.reply_source
        return self.destination, self.source

    def inside(self, addresses: Collection[str]) -> tuple[Endpoint, Endpoint]:
        """Local end and peer as who has one of `addresses` sees them."""
        if self.source.address in addresses:
            return self.source, self.destination
        return self.reply_source, self.reply_destination


def to_json(found: Iterable[Tracked]) -> Json:
    return [asdict(each) for each in found]


def from_json(data: Json) -> list[Tracked]:
    return [
        Tracked(
            Endpoint(**item["source"]),
            Endpoint(**item["destination"]),
            Endpoint(**item["reply_source"]),
            Endpoint(**item["reply_destination"]),
            item["state"],
        )
        for item in data
    ]


def of(addresses: Collection[str]) -> list[Tracked]:
    """The open connections that one of these addresses is an end of.  Raises ServiceError."""
    if not addresses:
        return []
    try:
        found = [_parse(body) for body in _call(_GET, _DUMP, _head(socket.AF_UNSPEC))]
    except OSError as error:
        raise ServiceError("tracked connections cannot be read", str(error)) from error
    return [
        each
        for each in found
        if each and {each.source.address, each.reply_source.address} & set(addresses)
    ]


def put(found: Iterable[Tracked]) -> None:
    """Have this kernel track them, unless it does already.  Raises ServiceError."""
    for each in found:
        try:
            list(_call(_NEW, _ACK | _CREATE | _EXCL, entry(each)))
        except FileExistsError:
            continue
        except OSError as error:
            raise ServiceError("a connection cannot be tracked again", str(error)) from error


# --- what is said ---


def entry(each: Tracked) -> bytes:
    """An entry to be made: the tuple of one direction, and what the translation makes of it.

    The reply is given as if nothing were translated: the kernel itself turns it into what it is to
    be, and knows by that that there is something to translate (nf_nat_setup_info()).
    """
    body = _head(_family(each.source.address))
    body += _tuple(_ORIG, each.source, each.destination)
    body += _tuple(_REPLY, each.destination, each.source)
    body += _attribute(_STATUS, struct.pack(">I", _SEEN))
    seconds = _TIMEOUT_S.get(each.state, _CLOSING_TIMEOUT_S)
    body += _attribute(_TIMEOUT, struct.pack(">I", seconds))
    state = _attribute(_TCP_STATE, bytes([each.state]))
    state += _attribute(_TCP_FLAGS_ORIG, _BE_LIBERAL) + _attribute(_TCP_FLAGS_REPLY, _BE_LIBERAL)
    body += _attribute(_PROTOINFO | _NESTED, _attribute(_TCP | _NESTED, state))
    if each.reply_source != each.destination:
        body += _nat(_NAT_DST, each.reply_source)
    if each.reply_destination != each.source:
        body += _nat(_NAT_SRC, each.reply_destination)
    return body


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _head(family: int) -> bytes:
    return struct.pack("=BBH", family, 0, 0)


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def _port(number: int) -> bytes:
    return struct.pack(">H", number)


def _tuple(kind: int, source: Endpoint, destination: Endpoint) -> bytes:
    family = _family(source.address)
    first, second = (_V6_SRC, _V6_DST) if family == socket.AF_INET6 else (_V4_SRC, _V4_DST)
    addresses = _attribute(first, socket.inet_pton(family, source.address))
    addresses += _attribute(second, socket.inet_pton(family, destination.address))
    proto = _attribute(_PROTO_NUM, bytes([socket.IPPROTO_TCP]))
    proto += _attribute(_SRC_PORT, _port(source.port))
    proto += _attribute(_DST_PORT, _port(destination.port))
    both = _attribute(_TUPLE_IP | _NESTED, addresses) + _attribute(_TUPLE_PROTO | _NESTED, proto)
    return _attribute(kind | _NESTED, both)


def _nat(kind: int, to: Endpoint) -> bytes:
    family = _family(to.address)
    kinds = (_NAT_V6_MIN, _NAT_V6_MAX) if family == socket.AF_INET6 else (_NAT_V4_MIN, _NAT_V4_MAX)
    body = b"".join(_attribute(each, socket.inet_pton(family, to.address)) for each in kinds)
    ports = _attribute(_NAT_PORT_MIN, _port(to.port)) + _attribute(_NAT_PORT_MAX, _port(to.port))
    return _attribute(kind | _NESTED, body + _attribute(_NAT_PROTO | _NESTED, ports))


# --- what is answered ---


def _call(kind: int, flags: int, body: bytes) -> Iterator[bytes]:
    """Send a request; the bodies of what comes back.  Raises OSError with the kernel's errno."""
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER
    ) as sock:
        sock.settimeout(30)
        sock.bind((0, 0))
        sock.send(struct.pack("=IHHII", 16 + len(body), kind, _REQUEST | flags, 1, 0) + body)
        while True:
            data = sock.recv(1 << 18)
            while len(data) >= 16:
                length, answer = struct.unpack_from("=IH", data)
                content = data[16:length]
                data = data[length + -length % 4 :]
                if answer == _DONE:
                    return
                if answer == _ERROR:
                    code = -int(struct.unpack_from("=i", content)[0])
                    if code:
                        raise OSError(code, os.strerror(code))
                    return
                yield content[4:]


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            raise OSError(errno.EBADMSG, "netlink attribute of no length")
        found[kind & 0x3FFF] = data[4:length]
        data = data[length + -length % 4 :]
    return found


def _parse(body: bytes) -> Tracked | None:
    """One entry; None when it is no open TCP connection."""
    fields = _attributes(body)
    if _PROTOINFO not in fields or not {_ORIG, _REPLY} <= fields.keys():
        return None
    state = _attributes(_attributes(fields[_PROTOINFO]).get(_TCP, b"")).get(_TCP_STATE, b"\0")[0]
    if state not in _OPEN_STATES:
        return None
    return Tracked(*_ends(fields[_ORIG]), *_ends(fields[_REPLY]), state)


def _ends(data: bytes) -> tuple[Endpoint, Endpoint]:
    fields = _attributes(data)
    addresses, proto = _attributes(fields[_TUPLE_IP]), _attributes(fields[_TUPLE_PROTO])
    family, keys = socket.AF_INET, (_V4_SRC, _V4_DST)
    if _V6_SRC in addresses:
        family, keys = socket.AF_INET6, (_V6_SRC, _V6_DST)
    ports = [struct.unpack(">H", proto[key])[0] for key in (_SRC_PORT, _DST_PORT)]
    first, second = (
        Endpoint(socket.inet_ntop(family, addresses[key]), port)
        for key, port in zip(keys, ports, strict=True)
    )
    return first, second
