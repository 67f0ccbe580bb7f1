# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a domain stands on, read from its definition as libvirt writes it."""

from liveupdated.libvirt import definition

XML = """\
<domain type='kvm' id='3'>
  <name>web</name>
  <devices>
    <disk type='file' device='disk'>
      <source file='/srv/web.qcow2' index='1'/>
      <backingStore type='file'>
        <format type='qcow2'/>
        <source file='/srv/base.qcow2'/>
      </backingStore>
    </disk>
    <disk type='block' device='disk'><source dev='/dev/vg/web'/></disk>
    <disk type='network' device='disk'><source protocol='rbd' name='pool/image'/></disk>
    <disk type='volume' device='disk'><source pool='fast' volume='web'/></disk>
    <disk type='file' device='cdrom'><target dev='sda'/></disk>
    <interface type='network'><source network='inner' bridge='virbr1'/></interface>
    <interface type='bridge'><source bridge='br0'/></interface>
    <interface type='direct'><source dev='eth1' mode='bridge'/></interface>
    <interface type='hostdev'>
      <source><address type='pci' domain='0x0000' bus='0x07' slot='0x10' function='0x1'/></source>
    </interface>
    <hostdev mode='subsystem' type='pci'>
      <source><address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></source>
    </hostdev>
    <hostdev mode='subsystem' type='mdev'>
      <source><address uuid='c2177883-f1bb-47f0-914d-32a22e3a8804'/></source>
    </hostdev>
    <hostdev mode='subsystem' type='usb'>
      <source><address bus='1' device='2'/></source>
    </hostdev>
    <channel type='unix'>
      <target type='virtio' name='org.qemu.guest_agent.0' state='connected'/>
    </channel>
  </devices>
</domain>
"""


def test_all_that_it_stands_on_is_found() -> None:
    seen = definition.read(XML)
    assert seen.images == ("/dev/vg/web", "/srv/base.qcow2", "/srv/web.qcow2")
    assert seen.unchecked == ("fast/web", "pool/image")
    assert seen.networks == ("inner",)
    assert seen.pools == ("fast",)
    assert seen.links == ("br0", "eth1")
    assert seen.devices == (
        "0000:01:00.0",
        "c2177883-f1bb-47f0-914d-32a22e3a8804",
        "0000:07:10.1",
    )
    assert seen.agent


def test_one_with_nothing_stands_on_nothing() -> None:
    seen = definition.read("<domain><devices/></domain>")
    assert seen == definition.Definition((), (), (), (), (), (), False)


def test_an_agent_that_is_not_there_sets_no_clock() -> None:
    gone = XML.replace("state='connected'", "state='disconnected'")
    assert not definition.read(gone).agent
