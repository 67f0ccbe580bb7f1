# SPDX-License-Identifier: LGPL-2.1-or-later
"""Three domains of libvirt's for a machine or a container of the lab, counting."""

from . import boot_sector
from .guests import LIMIT_S, Host

FOLDER = "/var/lib/libvirt/images"
STEADY, PASSING, FRESH = "steady", "passing", "fresh"
"""Persistent and started by libvirt's autostart; transient; one that a rule starts afresh."""
CARRIED = (STEADY, PASSING)
VIRSH = "virsh --connect qemu:///system"
RULE = f'[[workload]]\ndomain = "{FRESH}"\ncarry = "no"\n'.encode()
XML = f"""\
<domain type="qemu">
  <name>{{name}}</name>
  <memory unit="MiB">32</memory>
  <os><type arch="x86_64" machine="pc">hvm</type></os>
  <devices>
    <disk type="file">
      <driver name="qemu" type="raw"/>
      <source file="{FOLDER}/{{name}}.img"/>
      <target dev="hda" bus="ide"/>
    </disk>
    <serial type="file"><source path="/var/log/{{name}}.log" append="on"/></serial>
    {{more}}
  </devices>
</domain>
"""


def furnish(host: Host) -> None:
    """The three, all started."""
    host.put(RULE, "/etc/liveupdated/workloads.d/domains.toml")
    for name in (STEADY, PASSING, FRESH):
        host.put(boot_sector.SECTOR, f"{FOLDER}/{name}.img")
        host.put(XML.format(name=name, more="").encode(), f"/root/{name}.xml")
    host.run(f"truncate -s 1M {FOLDER}/*.img")
    host.run("systemctl enable --now virtlogd.socket libvirtd.socket libvirtd.service")
    for name in (STEADY, FRESH):
        host.run(f"{VIRSH} define /root/{name}.xml; {VIRSH} start {name}", timeout=LIMIT_S)
    host.run(f"{VIRSH} autostart {STEADY}; {VIRSH} create /root/{PASSING}.xml", timeout=LIMIT_S)
    for name in (STEADY, PASSING, FRESH):
        wait_count(host, name, 3)


def counts(host: Host, name: str) -> list[int]:
    """The numbers that the guest has said."""
    return boot_sector.counts(host.get(f"/var/log/{name}.log").decode())


def wait_count(host: Host, name: str, more: int) -> None:
    """Until the guest has said so many more numbers."""
    lines = f"$(grep -c . /var/log/{name}.log)"
    host.run(
        f"end=$(({lines} + {more})); until [ {lines} -ge $end ]; do sleep 0.2; done",
        timeout=LIMIT_S,
    )


def assert_counts_on(host: Host, *names: str) -> None:
    """No number twice, none left out, and more to come."""
    for name in names:
        wait_count(host, name, 3)
        numbers = counts(host, name)
        assert numbers == list(range(1, len(numbers) + 1)), name


def state(host: Host, name: str) -> str:
    return host.run(f"{VIRSH} domstate {name}", check=False).stdout.strip()
