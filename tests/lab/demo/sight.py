# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the demo runs in the machine, and how it looks at it."""

import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tests.lab.qemu import Machine

FILES = Path(__file__).parent / "guest"
KEYS = 1000
REDIS, COUNTER = "redis-server.service", "demo-counter.service"
TRANSIENT, STOPPED = "demo-transient.service", "memcached.service"
STATE = "/var/lib/demo-counter"
LIMIT = 64 * 1024 * 1024
"""The transient unit's MemoryMax=, in bytes."""

SET_UP = (
    # No persistence: what redis knows is in its memory and nowhere else.  The one that boot started
    # still writes a file when it is stopped.
    "systemctl daemon-reload; systemctl stop redis-server; rm -f /var/lib/redis/dump.rdb",
    "echo 'save \"\"' >> /etc/redis/redis.conf; systemctl start redis-server",
    f"for i in $(seq {KEYS}); do echo SET key:$i value-$i-$RANDOM; done | redis-cli --pipe",
    "systemctl enable --now demo-counter",
    f"systemd-run --unit={TRANSIENT} -p MemoryMax=64M sleep infinity",
    "systemctl stop memcached",
)
"""Commands, in this order, once the files are there."""
SHOW = (
    "uname -r; uptime",
    "redis-cli info server | grep -E 'uptime_in_seconds|process_id'; redis-cli dbsize",
    # the last numbers on the old kernel, the first ones on the new
    f"grep -C1 -m1 $(uname -r) {STATE}/log; tail -n1 {STATE}/log",
    f"systemctl status --no-pager -n0 {REDIS} {COUNTER}",
    f"systemctl show {TRANSIENT} -p Id,ActiveState,MemoryMax",
    f"systemctl show {STOPPED} -p Id,ActiveState,UnitFileState",
    "liveupdatectl history last",
    "liveupdatectl timeline",
)
"""Commands for people to look at, after the update."""


@dataclass(frozen=True)
class Count:
    """A line of the counter's log."""

    number: int
    release: str
    realtime: float
    """Seconds since the epoch."""


@dataclass(frozen=True)
class Sight:
    """The machine at one moment.  What does not answer is an empty string or 0."""

    release: str
    booted_s: float
    """How long this kernel runs."""
    redis_pid: str
    redis_run: str
    """Random for each start of redis."""
    redis_uptime_s: int
    redis_keys: int
    redis_values: str
    """A digest over all keys and values."""
    redis_files: str
    """What redis has on disk."""
    counts: tuple[Count, ...]
    counter_pid: str
    terminated: bool
    """Whether the counter ever got a SIGTERM."""
    transient: str
    """State, and the program's command line."""
    transient_limit: str
    """memory.max of its control group."""
    stopped: str
    """Whether it is active, and whether boot would start it."""

    @property
    def pause_s(self) -> float:
        """The longest time between two numbers of the counter."""
        moments = [count.realtime for count in self.counts]
        return max((b - a for a, b in pairwise(moments)), default=0.0)


def furnish(vm: Machine) -> list[str]:
    """Put the demo's files into the machine; their paths there."""
    files = sorted(path for path in FILES.rglob("*") if path.is_file())
    for file in files:
        # git keeps the executable bit and no other
        mode = 0o755 if os.access(file, os.X_OK) else 0o644
        vm.put(file, f"/{file.relative_to(FILES)}", mode)
    return [f"/{file.relative_to(FILES)}" for file in files]


def look(vm: Machine) -> Sight:
    """The machine as it is now."""

    def ask(script: str) -> str:
        return vm.run(script, check=False).stdout.strip()

    lines = (line.partition(":") for line in ask("redis-cli info server").splitlines())
    redis = {name: value for name, _, value in lines}
    transient = ask(
        f"systemctl is-active {TRANSIENT}; "
        f"tr '\\0' ' ' < /proc/$(systemctl show -P MainPID {TRANSIENT})/cmdline"
    )
    return Sight(
        redis_pid=redis.get("process_id", ""),
        redis_run=redis.get("run_id", ""),
        redis_uptime_s=int(redis.get("uptime_in_seconds", "0")),
        # after redis was asked: redis's uptime is not made to look longer by the time between
        booted_s=float(ask("cut -d' ' -f1 /proc/uptime")),
        release=ask("uname -r"),
        redis_keys=_number(ask("redis-cli dbsize")),
        redis_values=ask(
            f"for i in $(seq {KEYS}); do echo GET key:$i; done | redis-cli | sha256sum | head -c 16"
        ),
        redis_files=ask("find /var/lib/redis -type f"),
        counts=parse(ask(f"cat {STATE}/log")),
        counter_pid=ask(f"systemctl show -P MainPID {COUNTER}"),
        terminated=ask(f"test -e {STATE}/terminated && echo yes") == "yes",
        transient=" ".join(transient.split()),
        transient_limit=ask(f"cat /sys/fs/cgroup/system.slice/{TRANSIENT}/memory.max"),
        stopped=" ".join(
            ask(f"systemctl is-active {STOPPED}; systemctl is-enabled {STOPPED}").split()
        ),
    )


def parse(log: str) -> tuple[Count, ...]:
    """The counter's log; a line that is still being written is left out."""
    lines = [line.split() for line in log.splitlines()]
    return tuple(Count(int(n), release, float(t)) for n, release, t in lines[:-1])


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0
