# SPDX-License-Identifier: LGPL-2.1-or-later
"""Containers of podman: kept by podman, with a restart policy, in a pod, of a quadlet, of runc."""

import threading
import urllib.request

from tests.lab.qemu import Machine
from tests.vm.client import Client
from tests.vm.guest import JUMP_LIMIT_S
from tests.vm.kinds import Row

COUNT = b"""\
n=0
while :; do n=$((n+1)); echo $n >> /data/log; sleep 0.2; done
"""
ECHO = b"""\
import socketserver
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for asked, line in enumerate(self.rfile, 1):
            self.wfile.write(b"%d\\n" % asked)
socketserver.ThreadingTCPServer(("", 81), Echo).serve_forever()
"""
CALL = b"""\
import socket, sys, time
calls = socket.create_connection((sys.argv[1], 81)).makefile("rwb")
with open("/data/log", "a") as log:
    while True:
        calls.write(b"?\\n")
        calls.flush()
        print(int(calls.readline()), file=log, flush=True)
        time.sleep(0.2)
"""
QUADLET = b"""\
[Container]
Image=localhost/bb:1
ContainerName=quadlet
Volume=quadlet:/data
Volume=/root/count.sh:/count.sh:ro
Volume=/root/echo.py:/echo.py:ro
Volume=/usr:/usr:ro
Volume=/usr/lib:/lib:ro
Volume=/usr/lib64:/lib64:ro
PublishPort=8082:81
Exec=sh -c "/usr/bin/python3 /echo.py & exec sh /count.sh"
[Service]
Restart=always
[Install]
WantedBy=multi-user.target
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
PYTHON = "-v /usr:/usr:ro -v /lib:/lib:ro -v /lib64:/lib64:ro"
"""/lib is a symbolic link: CRIU would not follow it."""

COUNTERS = ("always", "member", "quadlet", "caller")
CARRIED = ("echo", "pod-infra", *COUNTERS)
PLANNED = {f"containers:{name}": "carried" for name in CARRIED} | {
    "containers:declared": "restarted"
}
OUTCOMES = PLANNED
ECHOES = (8081, 8082)
PORTS = [8080, *ECHOES]

# CRIU knows no AF_ALG sockets, and says so only when it dumps.
REFUSAL = (
    f"{RUN} run -d --name refused {PYTHON} localhost/bb:1 /usr/bin/python3 -c "
    "'import socket, time; s = socket.socket(socket.AF_ALG, 5); time.sleep(1e6)'; sleep 3"
)
REFUSAL_WORDS = ["refused could not be checkpointed", "CRIU refuses"]
REFUSAL_UNDO = (
    "[ $(podman inspect --format='{{.State.Running}}' refused) = true ] && "
    "podman rm --force --time 0 refused"
)

ALTER = """
for file in /var/lib/containers/storage/overlay-containers/*/userdata/checkpoint/core-1.img \\
    /var/lib/liveupdated/sessions/*/*/export.tar; do echo altered >> $file; done
"""
ALTERED = {f"containers:{name}": ("restarted", "altered") for name in CARRIED}


_clients: dict[int, Client] = {}
"""Outside of the machine, by the port that they ask."""


def furnish(vm: Machine) -> None:
    vm.put(COUNT, "/root/count.sh")
    vm.put(ECHO, "/root/echo.py")
    vm.put(CALL, "/root/call.py")
    vm.put(DECLARED, "/etc/liveupdated/workloads.d/containers.toml")
    vm.put(b"network-lock nftables\n", "/etc/criu/default.conf")
    vm.run(IMAGE, timeout=JUMP_LIMIT_S)
    echo = f"{PYTHON} -v /root/echo.py:/echo.py:ro localhost/bb:1 /usr/bin/python3 /echo.py"
    start(vm, f"-d --name echo -p 8081:81 {echo}")
    address = "{{.NetworkSettings.IPAddress}}"
    call = "-v caller:/data -v /root/call.py:/call.py:ro localhost/bb:1 /usr/bin/python3 /call.py"
    start(vm, f"-d --name caller {PYTHON} {call} $(podman inspect --format='{address}' echo)")
    always = "--runtime=runc --restart=always"
    for name, more in (("always", always), ("declared", "")):
        start(vm, f"-d --name {name} {more} -v {name}:/data {COUNTING} sh /count.sh")
    vm.run(f"{RUN} pod create --name pod --infra-name pod-infra -p 8080:80", timeout=JUMP_LIMIT_S)
    serve = "sh -c 'httpd -p 80 -h /data; exec sh /count.sh'"
    start(vm, f"-d --name member --pod pod -v member:/data {COUNTING} {serve}")
    vm.put(QUADLET, "/etc/containers/systemd/quadlet.container")
    vm.run("systemctl daemon-reload; systemctl start quadlet", timeout=JUMP_LIMIT_S)
    for port in ECHOES:
        vm.run(
            f"until ss -Htln | grep -q {port}; do sleep 0.2; done; sleep 2", timeout=JUMP_LIMIT_S
        )
        _clients[port] = Client(vm.port(port), b"?\n", b"%d\n")


def start(vm: Machine, words: str) -> None:
    vm.run(f"{RUN} run {words}", timeout=JUMP_LIMIT_S)


def counted(vm: Machine, name: str) -> list[int]:
    text = vm.get(log(name)).decode()
    return [int(line) for line in text.splitlines()]


def log(name: str) -> str:
    return f"/var/lib/containers/storage/volumes/{name}/_data/log"


def inspect(vm: Machine, name: str, what: str) -> str:
    return vm.run(["podman", "inspect", f"--format={{{{{what}}}}}", name]).stdout.strip()


def assert_goes_on(vm: Machine) -> None:
    """They count, no number came twice or was left out; and so for a connection from outside."""
    asked = {port: client.answers for port, client in _clients.items()}
    for name in COUNTERS:
        seen = counted(vm, name)
        vm.run(f"until [ $(wc -l < {log(name)}) -gt {len(seen)} ]; do sleep 0.2; done")
        numbers = counted(vm, name)
        assert numbers == list(range(1, len(numbers) + 1)), f"{name} did not count on"
    served(vm)
    pause = threading.Event()
    for port, client in _clients.items():
        for _ in range(600):
            if client.error or client.answers > asked[port]:
                break
            pause.wait(0.2)
        assert not client.error, client.error
        assert client.answers > asked[port], "the connection stands still"


def served(vm: Machine) -> None:
    """The published port of the pod answers, as seen from outside."""
    outside = f"http://127.0.0.1:{vm.port(8080)}/log"
    with urllib.request.urlopen(outside, timeout=120) as answer:
        assert answer.read().startswith(b"1\n2\n3\n")


def assert_planned(vm: Machine, rows: dict[str, Row]) -> None:
    assert "quadlet.service" in rows["containers:quadlet"]["reason"]
    assert "containers.toml" in rows["containers:declared"]["reason"]
    assert "2 TCP connections carried too" in rows["containers:echo"]["reason"]


def assert_returned(vm: Machine, session: Row) -> None:
    assert counted(vm, "declared").count(1) == 2, "it was to start afresh"
    for name in ("echo", "always", "member", "caller"):
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
        "find /run/systemd /var/lib/containers -name '*liveupdated-container-*' -o -name checkpoint"
    )
    assert left.stdout == ""
    assert "liveupdated" not in vm.run(["nft", "list", "tables"]).stdout
    for name in ("echo", "quadlet"):
        # QEMU, as whose client's host this one is seen, scales no windows: nor does this one now.
        enter = f"nsenter --target {inspect(vm, name, '.State.Pid')} --net"
        assert " wscale:0,0 " in vm.run(f"{enter} ss -tniH sport = :81").stdout


def assert_fresh(vm: Machine) -> None:
    for name in COUNTERS:
        # Of the one that calls another container, that may have another address now.
        if name != "caller":
            assert counted(vm, name).count(1) == 2, f"{name} was to start afresh"
    served(vm)
