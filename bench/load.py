# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is carried: services in the guest that hold memory and answer."""

from dataclasses import dataclass
from pathlib import Path

from tests.lab.qemu import Machine

GUEST = Path(__file__).parent / "guest"
HOLDER = "/usr/local/bin/holder"
FIRST_PORT = 7000
UNIT = """\
[Unit]
Description=Holds memory and answers on port {port}
[Service]
X-LiveUpdate=carry
ExecStart={holder} {port}
Restart=always
[Install]
WantedBy=multi-user.target
"""
PROGRAMS = ("holder", "first-answer", "criu-script")


@dataclass(frozen=True)
class Load:
    """So many services, that hold so many MiB together."""

    mib: int
    services: int

    @property
    def ports(self) -> range:
        return range(FIRST_PORT, FIRST_PORT + self.services)

    @property
    def units(self) -> str:
        return " ".join(f"holder{port}.service" for port in self.ports)


def furnish(vm: Machine, most: Load) -> None:
    """The programs; what the image itself would start is not compared here."""
    vm.run("systemctl disable --now redis-server memcached")
    for program in PROGRAMS:
        vm.put(GUEST / program, f"/usr/local/bin/{program}", 0o755)
    vm.put(GUEST / "criu-script.service", "/etc/systemd/system/criu-script.service")
    for port in most.ports:
        unit = UNIT.format(port=port, holder=HOLDER)
        vm.put(unit.encode(), f"/etc/systemd/system/holder{port}.service")
    vm.run("systemctl daemon-reload; systemctl enable criu-script")


def fill(vm: Machine, load: Load) -> None:
    """Have the services hold their memory; each answers again once it does."""
    vm.run(f"echo {load.mib // load.services} > /etc/holder")
    vm.run(["pkill", "-USR1", "-f", HOLDER])
