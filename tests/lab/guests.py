# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two virtual machines for a machine or a container of the lab: QEMU in services, counting."""

import json
from typing import Any

from . import boot_sector
from .container import Container
from .qemu import Machine

Host = Machine | Container
LIMIT_S = 300.0
FOLDER = "/var/lib/guests"
QEMU = (
    "/usr/bin/qemu-system-x86_64 -name {name} -machine q35,accel=tcg -m 32 -nodefaults "
    f"-display none -drive if=none,id=d,file={FOLDER}/{{name}}.img,format=raw "
    f"-device ide-hd,drive=d -chardev file,id=s,path={FOLDER}/{{name}}.log,append=on "
    "-serial chardev:s -qmp unix:/run/{name}/qmp,server=on,wait=off"
)
PLAIN = f"""\
[Service]
User=guests
RuntimeDirectory=plain
ProtectSystem=strict
PrivateTmp=yes
NoNewPrivileges=yes
ReadWritePaths={FOLDER}
ExecStart={QEMU.format(name="plain")} -sandbox on,spawn=deny
ExecStop=/usr/bin/touch {FOLDER}/plain.stopped
Restart=always
[Install]
WantedBy=multi-user.target
"""
SHARED = f"""\
[Service]
RuntimeDirectory=shared
ExecStart=/bin/sh -c 'exec {QEMU.format(name="shared")} -machine memory-backend=ram \
 -object memory-backend-file,id=ram,size=32M,share=on,mem-path={FOLDER}/shared.ram'
Restart=always
"""
GUESTS = ("plain", "shared")


def furnish(host: Host) -> None:
    """Two guests: one comes with the boot, one was started by hand and keeps its RAM in a file."""
    host.run(f"useradd --system guests; install -d -o guests {FOLDER}")
    for name, unit in zip(GUESTS, (PLAIN, SHARED), strict=True):
        host.put(boot_sector.SECTOR, f"{FOLDER}/{name}.img")
        host.put(unit.encode(), f"/etc/systemd/system/{name}.service")
    host.run(f"truncate -s 1M {FOLDER}/*.img; chown guests {FOLDER}/plain.img")
    host.run("systemctl enable --now plain; systemctl start shared")
    for name in GUESTS:
        wait_count(host, name, 3)


def counts(host: Host, name: str) -> list[int]:
    """The numbers that the guest has said."""
    return boot_sector.counts(host.get(f"{FOLDER}/{name}.log").decode())


def wait_count(host: Host, name: str, more: int) -> None:
    """Until the guest has said so many more numbers."""
    lines = f"$(grep -c . {FOLDER}/{name}.log)"
    host.run(f"end=$(({lines} + {more})); until [ {lines} -ge $end ]; do sleep 0.2; done")


def assert_counts_on(host: Host) -> None:
    """No number twice, none left out, and more to come."""
    for name in GUESTS:
        wait_count(host, name, 3)
        numbers = counts(host, name)
        assert numbers == list(range(1, len(numbers) + 1)), name
    assert host.run(f"systemctl is-active {' '.join(GUESTS)}").stdout == "active\nactive\n"
    done = host.run(["test", "-e", f"{FOLDER}/plain.stopped"], check=False)
    assert done.code == 1, "ExecStop= ran"


def mains(host: Host) -> list[str]:
    shown = host.run(["systemctl", "show", "-P", "MainPID", *GUESTS]).stdout
    return [pid for pid in shown.splitlines() if pid]


def rows(host: Host) -> dict[str, Any]:
    """The rows of the plan, by name; it may have blockers."""
    shown = host.run("liveupdatectl plan --json", check=False, timeout=LIMIT_S).stdout
    return {row["name"]: row for row in json.loads(shown)["workloads"]}
