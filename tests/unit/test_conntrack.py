# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tracked connections: what is said to the kernel, and how it is read back."""

import pytest

from liveupdated import conntrack
from liveupdated.conntrack import Tracked
from liveupdated.tcp import Endpoint

CLIENT, HOST, INSIDE = Endpoint("10.0.2.2", 40000), Endpoint("10.0.2.15", 8081), Endpoint("::1", 81)
PUBLISHED = Tracked(CLIENT, HOST, Endpoint("10.88.0.2", 81), CLIENT, 3)
OUTGOING = Tracked(Endpoint("10.88.0.2", 50000), CLIENT, CLIENT, Endpoint("10.0.2.15", 50001), 3)


@pytest.mark.parametrize("each", [PUBLISHED, OUTGOING])
def test_outside_is_what_the_peer_sees(each: Tracked) -> None:
    local, peer = each.outside(["10.88.0.2"])
    assert local.address == "10.0.2.15" and peer == CLIENT


@pytest.mark.parametrize("each", [PUBLISHED, OUTGOING])
def test_it_is_written_as_if_nothing_was_translated_and_with_what_is(each: Tracked) -> None:
    body = conntrack.entry(each)
    said = conntrack._parse(body[4:])
    assert said == Tracked(each.source, each.destination, each.destination, each.source, 3)
    fields = conntrack._attributes(body[4:])
    assert (conntrack._NAT_DST in fields) == (each is PUBLISHED)
    assert (conntrack._NAT_SRC in fields) == (each is OUTGOING)


def test_json_and_back() -> None:
    ipv6 = Tracked(INSIDE, INSIDE, INSIDE, INSIDE, 4)
    found = [PUBLISHED, OUTGOING, ipv6]
    assert conntrack.from_json(conntrack.to_json(found)) == found
