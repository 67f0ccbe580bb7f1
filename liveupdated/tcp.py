# SPDX-License-Identifier: LGPL-2.1-or-later
"""TCP connections that are carried: found, kept from the network while nobody has them, let go.

CRIU takes a connection out of the kernel and puts it back (`--tcp-established`).  In between any
packet of its peer's would be answered with RST, in the new kernel because it knows nothing of it.
So packets of these connections, and attempts to make new ones with the same listeners, are dropped
from before the freeze until after the restore, in both kernels.  To the peer that is a network that
stalls: it sends again (RFC 9293, 3.8.1).

The filter is an nftables table a workload, whose elements time out by themselves: should nobody be
left to take it away, the ports are not closed for ever.  Standard library only.
"""

import contextlib
import hashlib
import os
import socket
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from liveupdated.errors import SaveFailed
from liveupdated.session import Json

PREFIX = "liveupdated_"
"""How the names of our nftables tables begin."""
HOLD_LIMIT = "30m"
"""A hold outlives every step's limit, and still ends."""
NFT_FOLDERS = ("/usr/sbin", "/sbin", "/usr/bin", "/bin")
NFT_LIMIT_S = 60.0
ADDRESS_LIMIT_S = 60.0
"""How long a restore waits for the addresses of its connections."""

# enum tcp_state, include/net/tcp_states.h; what CRIU restores connected (--tcp-established).
_CONNECTED = {"01", "04", "05", "08", "09", "0B"}
_LISTENS = "0A"
_TIME_WAIT = " 06 "
"""No other field has two digits."""
_TCP_REPAIR = 19
"""linux/tcp.h"""
_PIDFD_GETFD = 438
"""pidfd_getfd(2); the same number on every architecture, as for all since Linux 5.1."""
_MAPPED = bytes(10) + b"\xff\xff"
"""How an IPv4 address begins in a socket of IPv6 (RFC 4291, 2.5.5.2)."""
_ANY = ("0.0.0.0", "::")  # noqa: S104  compared with, not bound to


@dataclass(frozen=True)
class Endpoint:
    """An address, as inet_ntop(3) prints it, and a port."""

    address: str
    port: int


@dataclass(frozen=True)
class Sockets:
    """What of TCP a workload has open."""

    connections: tuple[tuple[Endpoint, Endpoint], ...]
    """Local end and peer."""
    listeners: tuple[Endpoint, ...]
    bridged: tuple[tuple[Endpoint, Endpoint], ...] = ()
    """Connections that a bridge of this host passes on: its IP layer sees nothing of them."""

    def __bool__(self) -> bool:
        return bool(self.connections or self.listeners or self.bridged)

    @property
    def clients(self) -> int:
        """How many connections others have made to it."""
        ports = {listener.port for listener in self.listeners}
        return sum(local.port in ports for local, _ in self.connections)


NONE = Sockets((), ())


def available() -> bool:
    """Whether this host has nft(8), without which no connection can be carried."""
    return any(os.access(f"{folder}/nft", os.X_OK) for folder in NFT_FOLDERS)


def sockets(pid: int, inodes: Iterable[int]) -> Sockets:
    """The TCP sockets with these inodes, in the network namespace of `pid` (proc_net_tcp(5))."""
    wanted = set(inodes)
    if not wanted:
        return NONE
    connections, listeners = [], []
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
        except FileNotFoundError:  # no IPv6
            continue
        for line in lines:
            if _TIME_WAIT in line:  # nobody's, and often thousands
                continue
            words = line.split()
            if int(words[9]) not in wanted:
                continue
            if words[3] == _LISTENS:
                listeners.append(_endpoint(words[1]))
            elif words[3] in _CONNECTED:
                connections.append((_endpoint(words[1]), _endpoint(words[2])))
    return Sockets(tuple(connections), tuple(dict.fromkeys(listeners)))


def _endpoint(text: str) -> Endpoint:
    """`0100007F:18EB`: words of 32 bits in the machine's order, here always little-endian."""
    address, _, port = text.partition(":")
    raw = bytes.fromhex(address)
    raw = b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))
    raw = raw.removeprefix(_MAPPED)  # IPv4 is what goes over the wire then
    family = socket.AF_INET if len(raw) == 4 else socket.AF_INET6
    return Endpoint(socket.inet_ntop(family, raw), int(port, 16))


def to_json(found: Sockets) -> Json:
    return asdict(found)


def from_json(data: Json) -> Sockets:
    def pairs(what: str) -> tuple[tuple[Endpoint, Endpoint], ...]:
        return tuple((Endpoint(**local), Endpoint(**peer)) for local, peer in data[what])

    listeners = tuple(Endpoint(**listener) for listener in data["listeners"])
    return Sockets(pairs("connections"), listeners, pairs("bridged"))


# --- the hold ---


def hold(name: str, found: Sockets) -> None:
    """Keep all packets of these connections, and new ones to these listeners, from now on.

    Replaces an earlier hold of the same name.  Raises SaveFailed when nft refuses.
    """
    if not found:
        return
    if _together.rulesets is None:
        _nft(ruleset(table(name), found))
    else:
        _together.rulesets.append(ruleset(table(name), found))


@contextlib.contextmanager
def held_together() -> Iterator[None]:
    """For one thread: what it holds within this is held at its end, and nft runs once.

    Raises SaveFailed when nft refuses some of it; the others are held.
    """
    rulesets = _together.rulesets = []
    try:
        yield
    finally:
        _together.rulesets = None
        if rulesets:
            _put_all(rulesets)


def _put_all(rulesets: Sequence[str]) -> None:
    try:
        _nft("".join(rulesets))
    except SaveFailed:
        for each in rulesets:  # nft takes all of its input, or nothing
            with contextlib.suppress(SaveFailed):
                _nft(each)
        raise


class _Together(threading.local):
    rulesets: list[str] | None = None


_together = _Together()


def release(name: str, *, bridged: bool = False) -> None:
    """Take the hold away, and that of `bridged` connections where there may be one; without one
    nothing happens.  What several threads release meanwhile goes by the same nft.

    Raises SaveFailed when nft refuses.
    """
    families = ("inet", "bridge") if bridged else ("inet",)
    # `destroy` is newer than Debian 12's nftables: made, if it is not there, then deleted.
    mine = _Release("".join(_empty(family, table(name)) for family in families))
    _releases.append(mine)
    with _releasing:
        waiting = _releases[:]
        del _releases[: len(waiting)]
        if waiting:
            _release_all(waiting)
    if mine.error:
        raise mine.error


@dataclass
class _Release:
    text: str
    error: SaveFailed | None = None


_releases: list[_Release] = []
_releasing = threading.Lock()


def _release_all(releases: Sequence[_Release]) -> None:
    try:
        _nft("".join(each.text for each in releases))
    except SaveFailed as error:
        if len(releases) == 1:
            releases[0].error = error
        else:
            for each in releases:
                _release_all([each])


def _empty(family: str, name: str) -> str:
    return f"table {family} {name}\ndelete table {family} {name}\n"


def table(name: str) -> str:
    """The nftables table of that workload: a name that nft takes whatever the workload's is."""
    return PREFIX + hashlib.sha256(name.encode()).hexdigest()[:16]


# By set: its rule.
_NEW = "tcp flags & (fin | syn | rst | ack) == syn"
_RECEIVED = {
    "connections4": "ip daddr . tcp dport . ip saddr . tcp sport @connections4 drop",
    "connections6": "ip6 daddr . tcp dport . ip6 saddr . tcp sport @connections6 drop",
    "listeners4": f"{_NEW} ip daddr . tcp dport @listeners4 drop",
    "listeners6": f"{_NEW} ip6 daddr . tcp dport @listeners6 drop",
    "ports": f"{_NEW} tcp dport @ports drop",
}
_SENT = {
    "connections4": "ip saddr . tcp sport . ip daddr . tcp dport @connections4 drop",
    "connections6": "ip6 saddr . tcp sport . ip6 daddr . tcp dport @connections6 drop",
}
_TYPES = {
    "connections4": "ipv4_addr . inet_service . ipv4_addr . inet_service",
    "connections6": "ipv6_addr . inet_service . ipv6_addr . inet_service",
    "listeners4": "ipv4_addr . inet_service",
    "listeners6": "ipv6_addr . inet_service",
    "ports": "inet_service",
}


def ruleset(name: str, found: Sockets) -> str:
    """What `nft -f` reads.  It has nothing that is not needed: each set and rule costs blackout."""
    sets = _connections(found.connections)
    for listener in found.listeners:
        if listener.address in _ANY:
            sets["ports"].append(str(listener.port))
        else:
            sets[f"listeners{_family(listener)}"].append(f"{listener.address} . {listener.port}")
    text = _table("inet", name, sets, {"prerouting": _RECEIVED, "output": _SENT})
    if found.bridged:
        both_ways = (ends for pair in found.bridged for ends in (pair, pair[::-1]))
        text += _table("bridge", name, _connections(both_ways), {"prerouting": _SENT})
    return text


def _connections(pairs: Iterable[tuple[Endpoint, Endpoint]]) -> defaultdict[str, list[str]]:
    """Elements of the sets of both families."""
    sets: defaultdict[str, list[str]] = defaultdict(list)
    for near, far in pairs:
        ends = f"{near.address} . {near.port} . {far.address} . {far.port}"
        sets[f"connections{_family(near)}"].append(ends)
    return sets


def _table(
    family: str,
    name: str,
    sets: Mapping[str, Sequence[str]],
    hooks: Mapping[str, Mapping[str, str]],
) -> str:
    lines = [f"{_empty(family, name)}table {family} {name} {{"]
    for each, elements in sets.items():
        lines += [
            f"set {each} {{",
            f"type {_TYPES[each]}; flags timeout; timeout {HOLD_LIMIT};",
            f"elements = {{ {', '.join(dict.fromkeys(elements))} }}",
            "}",
        ]
    for hook, rules in hooks.items():
        if used := [rule for each, rule in rules.items() if each in sets]:
            # Before connection tracking (-200, netfilter_ipv4.h), which is to see none of it.
            lines += [f"chain {hook} {{ type filter hook {hook} priority -300;", *used, "}"]
    return "\n".join([*lines, "}"]) + "\n"


def _family(endpoint: Endpoint) -> int:
    return 6 if ":" in endpoint.address else 4


def _nft(text: str) -> None:
    try:
        done = subprocess.run(
            ["nft", "-f", "-"],
            input=text,
            check=False,
            capture_output=True,
            text=True,
            timeout=NFT_LIMIT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SaveFailed("nft could not be run", str(error)) from error
    if done.returncode != 0:
        raise SaveFailed("nft refused the filter of TCP connections", done.stderr.strip())


def part_silently(pid: int, descriptors: Iterable[int]) -> None:
    """Make these sockets of a process say nothing to their peers when it ends: no FIN, no RST.

    Without it the kernel would go on with the closed connection by itself, and keep its address
    from being used by the restore in place.  Raises OSError.  TCP_REPAIR: lwn.net/Articles/495304.
    """
    process = os.pidfd_open(pid)
    try:
        for descriptor in descriptors:
            copy = _syscall(_PIDFD_GETFD, process, descriptor, 0)
            with socket.socket(fileno=copy) as sock:
                if sock.proto == socket.IPPROTO_TCP and not _listens(sock):
                    sock.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
    finally:
        os.close(process)


def _listens(sock: socket.socket) -> bool:
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _syscall(number: int, *arguments: int) -> int:
    """A system call that Python has no function for.  Raises OSError."""
    import ctypes  # noqa: PLC0415 - for the save alone

    libc = ctypes.CDLL(None, use_errno=True)
    result: int = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


# --- addresses ---


def wait_for_addresses(found: Sockets, limit_s: float = ADDRESS_LIMIT_S) -> list[str]:
    """Wait until this host has each local address; those it has not in time."""
    missing = sorted(
        {local.address for local, _ in found.connections}
        | {listener.address for listener in found.listeners}
    )
    end = time.monotonic() + limit_s
    while missing:
        missing = [address for address in missing if not _is_ours(address)]
        if missing and time.monotonic() > end:
            break
        if missing:
            time.sleep(0.1)
    return missing


def _is_ours(address: str) -> bool:
    """Whether a socket can be bound to it: not to an IPv6 address that is still tentative."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.bind((address, 0))
        except OSError:
            return False
    return True


def sentence(connections: int) -> str:
    """`1 TCP connection`, `3 TCP connections`."""
    return f"{connections} TCP connection{'' if connections == 1 else 's'}"
