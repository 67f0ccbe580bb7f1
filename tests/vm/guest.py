# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests run in the guest, and how they look at it."""

import json
import re
from pathlib import Path
from typing import Any

from tests.lab.qemu import Machine

HERE = Path(__file__).parent
JUMP_LIMIT_S = 900.0
"""Much more than a live update takes: the machine may be busy with other things."""
MANAGER = "org.liveupdate1 /org/liveupdate1 org.liveupdate1.Manager"

REDIS_DROPIN = b"""\
[Service]
X-LiveUpdate=carry
# CRIU cannot take a user namespace along from inside a unit.
PrivateUsers=no
"""
COUNTER_RULE = b'[[workload]]\nunit = "counter.service"\ncarry = "memory"\n'
COUNTER_UNIT = b"""\
[Unit]
Description=Counts, and tells when it is asked to end
[Service]
Type=notify
ExecStart=/usr/local/bin/counter
WatchdogSec=60
Restart=always
MemoryMax=200M
RuntimeDirectory=counter
PrivateTmp=yes
[Install]
WantedBy=multi-user.target
"""


def furnish(vm: Machine) -> None:
    """A redis with data and no persistence, a counter, a transient unit, a stopped service."""
    vm.put(REDIS_DROPIN, "/etc/systemd/system/redis-server.service.d/carry.conf")
    vm.put(COUNTER_RULE, "/etc/liveupdated/workloads.d/counter.toml")
    vm.put(COUNTER_UNIT, "/etc/systemd/system/counter.service")
    vm.put(HERE / "counter", "/usr/local/bin/counter", 0o755)
    vm.run("systemctl daemon-reload; systemctl enable --now counter")
    vm.run("systemctl restart redis-server; redis-cli config set save ''")
    vm.run("for i in $(seq 1000); do echo SET key$i value$i; done | redis-cli --pipe")
    vm.run("systemd-run --unit=by-hand -p MemoryMax=64M -p Nice=7 sleep infinity")
    vm.run("systemctl stop memcached")


def counts(vm: Machine) -> list[tuple[int, str]]:
    """Each number that the counter has reached, with the kernel it ran on."""
    text = vm.get("/var/lib/counter/log").decode()
    return [(int(number), release) for number, release in map(str.split, text.splitlines())]


def assert_counted_on(vm: Machine) -> None:
    """No number twice, none left out: not an instruction between checkpoint and restore."""
    numbers = [number for number, _ in counts(vm)]
    assert numbers == list(range(1, len(numbers) + 1))
    done = vm.run(["test", "-e", "/var/lib/counter/terminated"], check=False)
    assert done.code == 1, "the counter's SIGTERM handler ran"


def redis(vm: Machine) -> dict[str, str]:
    """What redis says of itself."""
    info = vm.run(["redis-cli", "info", "server"]).stdout
    fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    fields["keys"] = vm.run(["redis-cli", "dbsize"]).stdout.strip()
    return fields


def ctl(vm: Machine, command: str, timeout: float = JUMP_LIMIT_S) -> Any:
    """What `liveupdatectl COMMAND --json` prints."""
    return json.loads(vm.run(f"liveupdatectl {command} --json", timeout=timeout).stdout)


def busctl(vm: Machine, words: str, timeout: float = JUMP_LIMIT_S) -> str:
    """A method of the manager, called as an administrator would."""
    return vm.run(f"busctl --timeout=600 call {MANAGER} {words}", timeout=timeout).stdout.strip()


def release(vm: Machine) -> str:
    return vm.run(["uname", "-r"]).stdout.strip()


def kernel_id(vm: Machine, version: str) -> str:
    """The id in the catalogue of the kernel that begins with `version`."""
    kernels = ctl(vm, "kernels")
    return str(next(kernel["id"] for kernel in kernels if kernel["release"].startswith(version)))


def wait_finished(vm: Machine, boot_before: str) -> dict[str, Any]:
    """Wait for the boot after a jump, the end of its session, and its units to be their own again;
    the session."""
    vm.wait_boot(boot_before, timeout=JUMP_LIMIT_S)
    vm.wait_running(timeout=JUMP_LIMIT_S)
    vm.run("while [ -L /var/lib/liveupdated/current ]; do sleep 1; done", timeout=JUMP_LIMIT_S)
    worker = "systemctl show -P MainPID liveupdated-restore"
    vm.run(f"until [ $({worker}) = 0 ]; do sleep 1; done", timeout=JUMP_LIMIT_S)
    session: dict[str, Any] = ctl(vm, "history last")
    return session


def outcomes(session: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Verdict and outcome of each workload, by its name."""
    return {w["name"]: (w["verdict"], w["outcome"]) for w in session["workloads"]}


def assert_untouched(vm: Machine, before: dict[str, str]) -> None:
    """Nothing is armed, nothing frozen, and what ran runs on."""
    assert vm.run("cat /sys/kernel/kexec_loaded").stdout == "0\n"
    assert vm.run(["redis-cli", "ping"]).stdout == "PONG\n"
    assert redis(vm)["process_id"] == before["process_id"]
    frozen = vm.run("grep -l 'frozen 1' /sys/fs/cgroup/system.slice/*/cgroup.events", check=False)
    assert frozen.stdout == ""
    assert vm.run("find /run/systemd/system -name '*liveupdated*'").stdout == ""
    seen = len(counts(vm))
    vm.run("sleep 2")
    assert len(counts(vm)) > seen, "the counter stands still"


def unprinted(text: str) -> str:
    """For comparing messages: without colours and line breaks."""
    return re.sub(r"\s+", " ", re.sub(r"\x1b\[[0-9;]*m", "", text))


def refused(vm: Machine, command: str, *words: str, code: int | None = None) -> None:
    """The command fails, and its message has all of `words`."""
    done = vm.run(command, check=False, timeout=JUMP_LIMIT_S)
    said = unprinted(done.stdout + done.stderr)
    assert done.code != 0, f"{command} was not refused: {said}"
    assert code in (None, done.code), said
    for word in words:
        assert word in said, f"{word!r} is not in: {said}"
    assert "Traceback" not in said


def wait_idle(vm: Machine) -> None:
    vm.run(
        'until liveupdatectl status --json | grep -q \'"state": *"idle"\'; do sleep 1; done',
        timeout=JUMP_LIMIT_S,
    )
