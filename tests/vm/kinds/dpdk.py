# SPDX-License-Identifier: LGPL-2.1-or-later
"""DPDK's testpmd with a null device: as a service, and as a process that is none."""

import json
from typing import Any

from tests.lab.qemu import Machine
from tests.vm.guest import JUMP_LIMIT_S
from tests.vm.kinds import Row

ARGUMENTS = (
    "-l 0-1 -m 16 --no-pci --vdev=net_null0 --file-prefix={} "
    "-- --auto-start --total-num-mbufs=2048 --stats-period=600 --burst=16"
)
# testpmd polls: it would take a whole CPU from the others.
QUOTA = "[Service]\nCPUQuota=8%\n"
SERVICE = f"""\
[Service]
ExecStart=dpdk-testpmd {ARGUMENTS.format("lab")}
CPUQuota=8%
[Install]
WantedBy=multi-user.target
"""
HUGEPAGES = "echo $(( $(cat /proc/sys/vm/nr_hugepages) + 24 )) > /proc/sys/vm/nr_hugepages"
BARE = f"""
systemd-run --quiet --scope --unit=by-hand -p CPUQuota=8% \
    env -i PATH=$PATH 'COLOUR=light % blue' setpriv --reuid=0 --regid=0 --groups=4,20 \
    setsid -f dpdk-testpmd {ARGUMENTS.format("bare")} < /dev/null > /dev/null 2>&1
"""
TELEMETRY = b"""\
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.settimeout(20)
s.connect(f"/run/dpdk/{sys.argv[1]}/dpdk_telemetry.v2")
s.recv(4096)
s.send(sys.argv[2].encode())
print(s.recv(65536).decode())
"""

PLANNED = {"hoststate:hugepages": "carried", "dpdk:lab": "restarted", "dpdk:bare": "restarted"}
OUTCOMES = PLANNED

REFUSAL = "pkill -STOP -f file-prefix=[b]are"
REFUSAL_WORDS = ["does not answer on its telemetry socket"]
REFUSAL_UNDO = "pkill -CONT -f file-prefix=[b]are"

ALTER = "sed -i s/--burst=16/--burst=8/ /etc/systemd/system/testpmd.service"
ALTERED = {
    "dpdk:lab": ("restarted", "it has other arguments than before"),
    "dpdk:bare": ("restarted", "packet buffers were in its rings and queues"),
}


def furnish(vm: Machine) -> None:
    vm.put(SERVICE.encode(), "/etc/systemd/system/testpmd.service")
    vm.put(QUOTA.encode(), "/etc/systemd/system/liveupdated-process-.service.d/quota.conf")
    vm.run(f"{HUGEPAGES}; systemctl daemon-reload; systemctl enable --now testpmd; {BARE}")


def telemetry(vm: Machine, prefix: str, command: str) -> Any:
    """What the application answers, once it does."""
    vm.put(TELEMETRY, "/usr/local/lib/telemetry.py")
    ask = f"python3 /usr/local/lib/telemetry.py {prefix} {command}"
    vm.run(f"until {ask} > /run/answer 2> /dev/null; do sleep 1; done", timeout=JUMP_LIMIT_S)
    return json.loads(vm.get("/run/answer"))[command.partition(",")[0]]


def assert_goes_on(vm: Machine) -> None:
    """Both run with their arguments, and their packets flow."""
    for prefix in ("lab", "bare"):
        eal = telemetry(vm, prefix, "/eal/params")
        assert eal[1:] == ARGUMENTS.format(prefix).partition(" -- ")[0].split(), eal
        before = telemetry(vm, prefix, "/ethdev/stats,0")["ipackets"]
        assert telemetry(vm, prefix, "/ethdev/stats,0")["ipackets"] > before


def assert_returned(vm: Machine, session: Row) -> None:
    """The one that was no service has what it had."""
    environ = vm.run("tr '\\0' '\\n' < /proc/$(pgrep -f file-prefix=[b]are)/environ").stdout
    assert "COLOUR=light % blue\n" in environ
    status = vm.run("grep Groups /proc/$(pgrep -f file-prefix=[b]are)/status").stdout
    assert {"4", "20"} <= set(status.split()), status
    rows = {row["id"]: row["outcome_reason"] for row in session["workloads"]}
    assert "what was in flight is lost" in rows["dpdk:bare"], rows
    assert "net_null0 had received" in rows["dpdk:lab"], rows
