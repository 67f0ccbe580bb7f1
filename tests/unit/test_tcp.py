# SPDX-License-Identifier: LGPL-2.1-or-later
"""TCP sockets are read from the kernel's tables, and the filter holds all of their packets."""

import os
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from liveupdated import tcp
from liveupdated.errors import SaveFailed
from liveupdated.tcp import Endpoint, Sockets


@pytest.mark.parametrize(
    ("listens", "client", "seen"),
    [("127.0.0.1", "127.0.0.1", "127.0.0.1"), ("::1", "::1", "::1"), ("::", "127.0.0.1", "::")],
)
def test_sockets_of_a_process(listens: str, client: str, seen: str) -> None:
    """In the third case both ends are IPv6 sockets to their owners, and IPv4 on the wire."""
    family = socket.AF_INET6 if ":" in listens else socket.AF_INET
    both = listens == "::"
    with socket.create_server((listens, 0), family=family, dualstack_ipv6=both) as server:
        port = server.getsockname()[1]
        with socket.create_connection((client, port)) as near, server.accept()[0] as far:
            here = near.getsockname()[1]
            inodes = [os.fstat(sock.fileno()).st_ino for sock in (server, far)]
            found = tcp.sockets(os.getpid(), inodes)
            assert found.listeners == (Endpoint(seen, port),)
            assert found.connections == ((Endpoint(client, port), Endpoint(client, here)),)
            assert tcp.from_json(tcp.to_json(found)) == found
    assert tcp.sockets(os.getpid(), []) == tcp.NONE


def test_the_filter_names_every_end() -> None:
    found = Sockets(
        (
            (Endpoint("192.0.2.1", 80), Endpoint("192.0.2.9", 50000)),
            (Endpoint("2001:db8::1", 80), Endpoint("2001:db8::9", 50001)),
        ),
        (Endpoint("0.0.0.0", 80), Endpoint("::", 80), Endpoint("192.0.2.1", 81)),  # noqa: S104
    )
    text = tcp.ruleset(tcp.table("a b.service"), found)
    assert "elements = { 192.0.2.1 . 80 . 192.0.2.9 . 50000 }" in text
    assert "elements = { 2001:db8::1 . 80 . 2001:db8::9 . 50001 }" in text
    assert "elements = { 192.0.2.1 . 81 }" in text
    assert "elements = { 80 }" in text
    check = ["unshare", "--map-root-user", "--net", "nft", "--check", "--file", "-"]
    subprocess.run(check, input=text, text=True, check=True)


def test_what_is_held_together_is_one_run_of_nft_and_one_refusal_spares_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def nft(text: str) -> None:
        asked.append(text)
        if tcp.table("bad") in text:
            raise SaveFailed("nft refused the filter of TCP connections")

    monkeypatch.setattr(tcp, "_nft", nft)
    port = Sockets((), (Endpoint("0.0.0.0", 80),))  # noqa: S104
    with tcp.held_together():
        pass
    assert asked == []
    with tcp.held_together():
        tcp.hold("a", port)
        tcp.hold("nothing", tcp.NONE)
        tcp.hold("b", port)
    both = [tcp.ruleset(tcp.table(name), port) for name in ("a", "b")]
    assert asked == ["".join(both)]
    check = ["unshare", "--map-root-user", "--net", "nft", "--check", "--file", "-"]
    subprocess.run(check, input=asked[0], text=True, check=True)
    with pytest.raises(SaveFailed), tcp.held_together():
        tcp.hold("bad", port)
        tcp.hold("b", port)
    assert asked[-1] == both[1]
    tcp.hold("a", port)
    assert asked[-1] == both[0]


def test_what_is_released_meanwhile_is_one_run_of_nft_and_a_refusal_is_its_owners(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    go_on = threading.Event()

    def nft(text: str) -> None:
        asked.append(text)
        if len(asked) == 1:
            go_on.wait(30)
        if tcp.table("bad") in text:
            raise SaveFailed("nft refused", "bad")

    monkeypatch.setattr(tcp, "_nft", nft)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(tcp.release, "first")
        while not asked:
            time.sleep(0.01)
        others = {name: pool.submit(tcp.release, name) for name in ("a", "bad", "b")}
        while len(tcp._releases) < len(others):
            time.sleep(0.01)
        go_on.set()
        assert first.result(30) is None
        errors = {name: other.exception(30) for name, other in others.items()}
    assert isinstance(errors.pop("bad"), SaveFailed)
    assert errors == {"a": None, "b": None}
    # The first, all others, and these one by one.
    assert [text.count("delete table") for text in asked] == [1, 3, 1, 1, 1]


def test_what_a_bridge_passes_on_is_held_there_in_both_directions() -> None:
    ends = (Endpoint("10.88.0.2", 81), Endpoint("10.88.0.3", 50000))
    more = (Endpoint("fd00::2", 81), Endpoint("fd00::3", 50001))
    found = Sockets((), (), (ends, more))
    assert found and tcp.from_json(tcp.to_json(found)) == found
    text = tcp.ruleset(tcp.table("a"), found)
    there, back = "10.88.0.2 . 81 . 10.88.0.3 . 50000", "10.88.0.3 . 50000 . 10.88.0.2 . 81"
    assert f"elements = {{ {there}, {back} }}" in text
    check = ["unshare", "--map-root-user", "--net", "nft", "--check", "--file", "-"]
    subprocess.run(check, input=text, text=True, check=True)
    # A kernel that has no nftables for bridges is asked for it only where it is needed.
    assert "bridge" not in tcp.ruleset(tcp.table("a"), Sockets((ends,), ()))


def test_an_address_that_is_not_here_is_named() -> None:
    def one(address: str) -> Sockets:
        return Sockets(((Endpoint(address, 1), Endpoint(address, 2)),), ())

    assert tcp.wait_for_addresses(one("127.0.0.1")) == []
    assert tcp.wait_for_addresses(one("192.0.2.77"), limit_s=0) == ["192.0.2.77"]


def test_a_socket_parts_silently() -> None:
    """The peer hears nothing, not even of unread data, and the address is free at once."""
    if os.geteuid() != 0:
        pytest.fail("TCP_REPAIR needs CAP_NET_ADMIN: run the tests as root")
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
        with far:
            far.sendall(b"unread")
            tcp.part_silently(os.getpid(), [near.fileno(), server.fileno()])
            near.close()
            far.setblocking(False)
            with pytest.raises(BlockingIOError):  # neither an end nor a reset
                far.recv(1)
