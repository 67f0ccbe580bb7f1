# SPDX-License-Identifier: LGPL-2.1-or-later
"""Established TCP connections are carried: the peers see a network that stalls, and goes on."""

from collections.abc import Callable
from pathlib import Path

from tests.lab.qemu import Machine
from tests.vm.client import Client
from tests.vm.guest import HERE, JUMP_LIMIT_S, ctl, furnish, kernel_id, redis, wait_finished

PORT = 6379
REDIS_OPEN = b"""\
[Service]
ExecStart=
ExecStart=/usr/bin/redis-server /etc/redis/redis.conf --supervised systemd --daemonize no \\
 --bind 0.0.0.0 ::1 --protected-mode no --save "" --timeout 0
"""
PAIR = b"""\
[Service]
X-LiveUpdate=carry
ExecStart=/usr/local/bin/pair
"""
GONE = "192.0.2.7"
ENDING = "valid_lft 86400 preferred_lft 86400"
"""An address with an end is no host state: nobody puts it back."""
STRANDED = b"""\
[Service]
X-LiveUpdate=carry
ExecStart=/usr/bin/python3 -c "import socket, time; \\
 a = socket.create_server(('', 4712)); \\
 b = socket.create_connection(('192.0.2.7', 4712)); c, _ = a.accept(); time.sleep(1e6)"
"""

# A device blocks; its loss is agreed to.
DEVICE = b"""\
[Service]
X-LiveUpdate=carry
StandardInput=file:/dev/kmsg
ExecStart=/usr/bin/sleep infinity
"""


def test_connections_go_on(boot: Callable[..., Machine], installed: Path) -> None:
    vm = boot(disk=installed, ports=[PORT])
    vm.put(REDIS_OPEN, "/etc/systemd/system/redis-server.service.d/override.conf")
    vm.put(HERE / "pair", "/usr/local/bin/pair", 0o755)
    vm.put(PAIR, "/etc/systemd/system/pair.service")
    vm.put(STRANDED, "/etc/systemd/system/stranded.service")
    vm.put(DEVICE, "/etc/systemd/system/device.service")
    furnish(vm)
    vm.run(f"ip address add {GONE}/32 dev lo {ENDING}; systemctl start pair stranded")
    vm.run("until ss -tn state established | grep -q 192.0.2.7; do sleep 0.2; done")
    before = redis(vm)
    client = Client(vm.port(PORT))
    try:
        plan = ctl(vm, f"plan --kernel {kernel_id(vm, '7.3')}")
        reasons = {w["name"]: w["reason"] for w in plan["workloads"]}
        assert "1 TCP connection carried too" in reasons["redis-server.service"]
        assert "2 TCP connections carried too" in reasons["pair.service"]
        vm.run(["liveupdatectl", "rehearse"], timeout=JUMP_LIMIT_S)
        assert_going_on(vm, client, before)
        vm.run("systemctl start device")
        first = vm.boot_id()
        vm.start(["liveupdatectl", "update", "--yes", "--accept-loss", "device.service"])
        session = wait_finished(vm, first)
        assert session["state"] == "confirmed", session
        assert_going_on(vm, client, before)
    finally:
        client.end()
    outcomes = {w["name"]: (w["outcome"], w["outcome_reason"]) for w in session["workloads"]}
    assert outcomes["redis-server.service"] == ("carried", "")
    outcome, reason = outcomes["device.service"]
    assert outcome == "restarted" and "agreed" in reason and "/dev/kmsg" in reason
    outcome, reason = outcomes["stranded.service"]
    assert outcome == "carried" and GONE in reason and "2 TCP connections closed" in reason
    assert vm.run(["nft", "list", "tables"]).stdout == ""


def assert_going_on(vm: Machine, client: Client, before: dict[str, str]) -> None:
    """Both ends are heard of again, and nothing was lost or sent twice on the way."""
    assert redis(vm)["process_id"] == before["process_id"]
    seen = client.answers
    vm.run(f"until [ $(redis-cli --raw get asked) -gt {seen + 5} ]; do sleep 0.5; done")
    assert not client.error, client.error
    reached = int(vm.run("tail -n 1 /var/lib/counter/pair").stdout)
    vm.run(f"until [ $(tail -n 1 /var/lib/counter/pair) -gt {reached + 5} ]; do sleep 0.5; done")
    numbers = list(map(int, vm.get("/var/lib/counter/pair").decode().split()))
    assert numbers == list(range(1, len(numbers) + 1))
