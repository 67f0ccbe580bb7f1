# SPDX-License-Identifier: LGPL-2.1-or-later
"""Containers of podman across a live update: carried, restarted, refused."""

import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.lab.qemu import Machine
from tests.vm.guest import JUMP_LIMIT_S, ctl, kernel_id, outcomes, refused, release, wait_finished

COUNT = b"""\
n=0
while :; do n=$((n+1)); echo $n >> /data/log; sleep 0.2; done
"""
QUADLET = b"""\
[Container]
Image=localhost/bb:1
ContainerName=quadlet
Volume=quadlet:/data
Volume=/root/count.sh:/count.sh:ro
Exec=sh /count.sh
[Service]
Restart=always
[Install]
WantedBy=multi-user.target
"""
ALTER = b"""\
#!/bin/sh
for file in /var/lib/containers/storage/overlay-containers/*/userdata/checkpoint/core-1.img \\
    /var/lib/liveupdated/sessions/*/*/export.tar; do echo altered >> $file; done
"""
DECLARED = b'[[workload]]\ncontainer = "declar*"\ncarry = "no"\n'
IMAGE = """\
mkdir -p /root/bb/bin /root/bb/tmp && cp /bin/busybox /root/bb/bin/
for name in sh sleep httpd; do ln -sf busybox /root/bb/bin/$name; done
tar -C /root/bb -c . | podman import -q - localhost/bb:1
systemctl enable podman-restart
"""
# Not as a part of the lab's agent: conmon is to be where an administrator's shell would put it.
RUN = "env -u INVOCATION_ID podman"
COUNTING = "-v /root/count.sh:/count.sh:ro localhost/bb:1"
CARRIED = ("plain", "always", "member", "quadlet")
EXPECTED = {name: ("carried", "carried") for name in CARRIED} | {
    "declared": ("restarted", "restarted")
}


def furnish(vm: Machine) -> None:
    """Five counters: kept by podman, with a restart policy, in a pod, of a quadlet, not carried."""
    vm.put(COUNT, "/root/count.sh")
    vm.put(DECLARED, "/etc/liveupdated/workloads.d/containers.toml")
    vm.put(b"network-lock nftables\n", "/etc/criu/default.conf")
    vm.run(IMAGE, timeout=JUMP_LIMIT_S)
    for name, more in (("plain", ""), ("always", "--restart=always"), ("declared", "")):
        start(vm, f"-d --name {name} {more} -v {name}:/data {COUNTING} sh /count.sh")
    vm.run(f"{RUN} pod create --name pod -p 8080:80", timeout=JUMP_LIMIT_S)
    serve = "sh -c 'httpd -p 80 -h /data; exec sh /count.sh'"
    start(vm, f"-d --name member --pod pod -v member:/data {COUNTING} {serve}")
    vm.put(QUADLET, "/etc/containers/systemd/quadlet.container")
    vm.run("systemctl daemon-reload; systemctl start quadlet", timeout=JUMP_LIMIT_S)


def start(vm: Machine, words: str) -> None:
    vm.run(f"{RUN} run {words}", timeout=JUMP_LIMIT_S)


def counted(vm: Machine, name: str) -> list[int]:
    text = vm.get(f"/var/lib/containers/storage/volumes/{name}/_data/log").decode()
    return [int(line) for line in text.splitlines()]


def assert_goes_on(vm: Machine, name: str) -> None:
    """It counts, and no number came twice or was left out."""
    seen = counted(vm, name)
    vm.run(f"until [ $(wc -l < {log(name)}) -gt {len(seen)} ]; do sleep 0.2; done")
    numbers = counted(vm, name)
    assert numbers == list(range(1, len(numbers) + 1)), f"{name} did not count on"


def log(name: str) -> str:
    return f"/var/lib/containers/storage/volumes/{name}/_data/log"


def inspect(vm: Machine, name: str, what: str) -> str:
    return vm.run(["podman", "inspect", f"--format={{{{{what}}}}}", name]).stdout.strip()


def verdicts(vm: Machine) -> dict[str, dict[str, Any]]:
    rows = ctl(vm, "plan")["workloads"]
    return {row["name"]: row for row in rows if row["kind"] == "containers"}


def test_containers_are_carried(boot: Callable[..., Machine], installed: Path) -> None:
    """Rehearsed, then 6.12 → 7.3; then back again, with a checkpoint that somebody altered."""
    vm = boot(disk=installed, ports=[8080])
    furnish(vm)
    assert_verdicts(vm)
    vm.run(["liveupdatectl", "rehearse"], timeout=JUMP_LIMIT_S)
    assert ctl(vm, "history last")["state"] == "rehearsed"
    for name in CARRIED:
        assert_goes_on(vm, name)
    what_criu_refuses_stops_the_update(vm)
    first = vm.boot_id()
    vm.start(f"liveupdatectl update --yes --kernel {kernel_id(vm, '7.3')}")
    session = wait_finished(vm, first)
    assert session["state"] == "confirmed", session
    assert release(vm).startswith("7.3.")
    assert_as_before(vm, session)
    an_altered_checkpoint_is_not_restored(vm)


def assert_verdicts(vm: Machine) -> None:
    found = verdicts(vm)
    for name, (verdict, _) in EXPECTED.items():
        assert found[name]["verdict"] == verdict, found[name]
    assert "quadlet.service" in found["quadlet"]["reason"]
    assert "containers.toml" in found["declared"]["reason"]
    vm.run("mv /etc/criu/default.conf /etc/criu/away")
    without = verdicts(vm)["plain"]
    assert without["verdict"] == "restarted" and "network-lock nftables" in without["reason"]
    vm.run("mv /etc/criu/away /etc/criu/default.conf")


def assert_as_before(vm: Machine, session: dict[str, Any]) -> None:
    found = outcomes(session)
    assert {name: found[name] for name in EXPECTED} == EXPECTED, session
    for name in CARRIED:
        assert_goes_on(vm, name)
    assert counted(vm, "declared").count(1) == 2, "it was to start afresh"
    outside = f"http://127.0.0.1:{vm.port(8080)}/log"
    with urllib.request.urlopen(outside, timeout=60) as answer:
        assert answer.read().startswith(b"1\n2\n3\n")
    for name in ("plain", "always", "member"):
        monitor = vm.run(f"cat /proc/{inspect(vm, name, '.State.ConmonPid')}/cgroup").stdout
        assert "libpod-conmon-" in monitor, monitor
    main = vm.run(["systemctl", "show", "-P", "MainPID", "quadlet"]).stdout.strip()
    assert main == inspect(vm, "quadlet", ".State.ConmonPid")
    shown = vm.run("systemctl show quadlet -p ActiveState,Type,Restart,NeedDaemonReload").stdout
    assert set(shown.split()) == {
        "ActiveState=active",
        "Type=notify",
        "Restart=always",
        "NeedDaemonReload=no",
    }
    left = vm.run(
        "find /run/systemd /var/lib/containers -name '*liveupdated-*' -o -name checkpoint"
    )
    assert left.stdout == ""


def what_criu_refuses_stops_the_update(vm: Machine) -> None:
    """CRIU knows no AF_ALG sockets, and says so only when it dumps."""
    code = "import socket, time; s = socket.socket(socket.AF_ALG, 5); time.sleep(1e6)"
    start(
        vm,
        "-d --name refused -v /usr:/usr:ro -v /lib:/lib:ro -v /lib64:/lib64:ro localhost/bb:1 "
        f'/usr/bin/python3 -c "{code}"',
    )
    boot_id = vm.boot_id()
    refused(
        vm, f"liveupdatectl update --yes --kernel {kernel_id(vm, '7.3')}", "refused", "could not"
    )
    assert vm.boot_id() == boot_id
    session = ctl(vm, "history last")
    assert session["state"] == "abandoned" and "refused" in session["reason"], session
    for name in CARRIED:
        assert_goes_on(vm, name)
    assert inspect(vm, "refused", ".State.Running") == "true"
    vm.run("podman rm --force --time 0 refused", timeout=JUMP_LIMIT_S)


def an_altered_checkpoint_is_not_restored(vm: Machine) -> None:
    """By whoever may write there, between the save and the jump: here at the very end of it."""
    vm.put(ALTER, "/root/alter", 0o755)
    vm.put(
        b"[Service]\nExecStart=/root/alter\n",
        "/etc/systemd/system/liveupdated-stopped.service.d/alter.conf",
    )
    vm.run("systemctl daemon-reload")
    first = vm.boot_id()
    vm.start(f"liveupdatectl update --yes --kernel {kernel_id(vm, '6.12')}")
    session = wait_finished(vm, first)
    assert session["state"] == "degraded", session
    rows = {row["name"]: row for row in session["workloads"]}
    for name in CARRIED:
        assert rows[name]["outcome"] == "restarted", rows[name]
        assert "altered" in rows[name]["outcome_reason"], rows[name]
        assert counted(vm, name).count(1) == 2, f"{name} was to start afresh"
