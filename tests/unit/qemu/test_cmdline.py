# SPDX-License-Identifier: LGPL-2.1-or-later
"""QEMU's command line: what is read from it, and how it is said again."""

import shlex

import pytest

from liveupdated.qemu import cmdline

ARGV = shlex.split(
    "/usr/bin/qemu-system-x86_64 -name guest=mail,debug-threads=on -machine q35,accel=kvm -S "
    "-nodefaults -qmp unix:/run/mail/qmp,server=on,wait=off "
    "-chardev socket,id=mon,path=/run/mail/with,,comma,server,nowait -mon chardev=mon,mode=control "
    "-netdev bridge,id=n0,br=br0 -nic tap,ifname=tap7,script=no "
    "-device virtio-net-pci,netdev=n0,id=net0 "
    """-device '{"driver":"virtio-rng-pci","id":"rng0"}' -append "" -pidfile /run/mail/pid"""
)


def test_the_name_with_and_without_its_key() -> None:
    assert cmdline.guest_name(ARGV) == "mail"
    assert cmdline.guest_name(["qemu", "-name", "web,process=x"]) == "web"
    assert cmdline.guest_name(["qemu", "-m", "32"]) == ""


def test_sockets_of_either_way_to_say_it() -> None:
    assert cmdline.qmp_sockets(ARGV) == ["/run/mail/qmp", "/run/mail/with,comma"]
    by_chardev = ["qemu", "-chardev", "socket,id=c,path=/q,server=on", "-qmp", "chardev:c"]
    assert cmdline.qmp_sockets(by_chardev) == ["/q"]


@pytest.mark.parametrize(
    "words",
    [
        ["-qmp", "tcp:localhost:4444,server=on"],
        ["-qmp", "unix:/run/qmp"],  # QEMU is the client there
        ["-monitor", "unix:/run/hmp,server=on"],
        ["-chardev", "socket,id=m,path=/hmp,server=on", "-mon", "chardev=m"],
        ["-qmp", "stdio"],
    ],
)
def test_what_is_no_socket_for_clients_of_qmp(words: list[str]) -> None:
    assert cmdline.qmp_sockets(["qemu", *words]) == []


def test_devices_and_links() -> None:
    assert {"net0", "rng0"} <= cmdline.named_devices(ARGV)
    assert "plugged" not in cmdline.named_devices(ARGV)
    assert cmdline.links(ARGV) == ["br0", "tap7"]


def test_an_empty_value_does_not_end_the_options() -> None:
    assert dict(cmdline.options(ARGV))["pidfile"] == "/run/mail/pid"
    assert dict(cmdline.options(ARGV))["nodefaults"] == ""


def test_again_is_the_same_however_often_it_is_said() -> None:
    once = cmdline.again(ARGV, "pc-q35-10.0")
    assert once == [*ARGV, "-machine", "pc-q35-10.0", "-incoming", "defer"]
    assert cmdline.again(once, "pc-q35-10.0") == once
    came_in = [*ARGV, "--incoming", "tcp:0:4444"]
    assert cmdline.again(came_in, "pc-q35-10.0") == once


def test_systemd_gets_each_word_as_it_is() -> None:
    words = ["/usr/bin/qemu", "-append", 'a "b" 100% $HOME \\n', "", "\udcff", "ü"]
    assert cmdline.exec_line(words) == (
        r':"/usr/bin/qemu" "-append" "a \x22b\x22 100%% \x24HOME \x5cn" "" "\xff" "\xc3\xbc"'
    )
