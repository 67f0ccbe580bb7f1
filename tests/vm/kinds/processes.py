# SPDX-License-Identifier: LGPL-2.1-or-later
"""Processes outside services: one with everything, a tmux with an editor, jobs of nohup and at."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from tests.lab.qemu import Machine
from tests.vm.guest import HERE

USER = "marvin"
HOME = f"/home/{USER}"
RULES = f"""\
[[workload]]
process = "/usr/bin/python3*"
user = "{USER}"
arguments = "* /usr/local/bin/manifold"
carry = "memory"

[[workload]]
process = "/usr/bin/tmux"
user = "{USER}"
carry = "memory"

[[workload]]
process = "/usr/bin/python3*"
user = "{USER}"
arguments = "* /usr/local/bin/ticker nohup *"
carry = "restart"

[[workload]]
process = "/usr/bin/python3*"
cgroup = "/system.slice/atd.service"
arguments = "* /usr/local/bin/ticker at"
carry = "memory"
fallback = "restart"

[[workload]]
process = "/usr/bin/python3*"
arguments = "* /usr/local/bin/ticker hand"
carry = "memory"
"""
CARRIED = ("manifold", "tmux")
MANIFOLD = f"processes:{USER}/manifold"
TMUX = f"processes:{USER}/tmux"
# There are two of that name, which have their pids in it.
TICKERS = f"processes:{USER}/ticker-"
UNDECLARED = f"processes:{USER}/sleep"
PHANTOM = f"""\
[[workload]]
process = "/usr/bin/cat"
user = "{USER}"
arguments = "cat -u"
carry = "memory"
"""
ACCEPT = [UNDECLARED]
PLANNED = {MANIFOLD: "carried", TMUX: "carried", UNDECLARED: "lost"}
OUTCOMES = PLANNED
ALTER = """
for file in $(grep -l manifold /var/lib/liveupdated/sessions/*/*/images/core-*.img); do
    printf x >> $file
done
"""
ALTERED = {
    MANIFOLD: ("failed", "its checkpoint was altered"),
    TMUX: ("carried", ""),
}
# CRIU keeps no deleted file of that size, and says so only when it dumps.
REFUSAL = f"""
cd {HOME}; head -c 80M /dev/zero > phantom; mkfifo quiet-cat
chmod 666 phantom quiet-cat
su --login {USER} --command 'setsid cat -u 0<> quiet-cat 9< phantom > /dev/null 2>&1 &'
until pgrep -xf 'cat -u'; do sleep 0.3; done
rm phantom
printf '%s' {shlex.quote(PHANTOM)} > /etc/liveupdated/workloads.d/phantom.toml
"""
REFUSAL_WORDS = [f"{USER}/cat could not be checkpointed", "phantom"]
REFUSAL_UNDO = "rm /etc/liveupdated/workloads.d/phantom.toml; pkill -xf 'cat -u'"
JOB = b"""\
#!/bin/bash
umask 077
ulimit -S -n 555
cd /var/tmp
export TICKER='50% of "it"'
nohup nice -n 5 /usr/local/bin/ticker nohup 'a $b %c' &
"""
UNSAVED = "nobody has saved this"


def by_user(command: str) -> str:
    """A login session for one command, as sshd and cron make it."""
    return f"su --login {USER} --command {shlex.quote(command)}"


def furnish(vm: Machine) -> None:
    vm.run(f"id {USER} 2>/dev/null || useradd --create-home --shell /bin/bash {USER}")
    vm.put(RULES.encode(), "/etc/liveupdated/workloads.d/processes.toml")
    for name in ("manifold", "ticker"):
        vm.put(HERE / name, f"/usr/local/bin/{name}", 0o755)
    vm.run("systemctl start atd")
    vm.run(by_user("echo 'exec /usr/local/bin/ticker at < /dev/null' | at now 2> /dev/null"))
    wait_for(vm, f"grep -q . {HOME}/ticker-at")
    vm.run(by_user("setsid /usr/local/bin/manifold < /dev/null > manifold.out 2>&1 &"))
    wait_for(vm, "test -S /tmp/manifold/socket")
    vm.run(by_user("tmux new-session -d -s work 'vim.tiny note'"))
    vm.run(by_user("tmux new-window -t work; tmux send-keys -t work:1 'kept=$((6 * 7))' Enter"))
    vm.run(by_user(f"sleep 2; tmux send-keys -t work:0 'i{UNSAVED}'"))
    wait_for(vm, by_user(f"tmux capture-pane -p -t work:0 | grep -q '{UNSAVED}'"))
    vm.put(JOB, "/usr/local/bin/job", 0o755)
    vm.run(by_user("/usr/local/bin/job < /dev/null > out 2>&1"))
    wait_for(vm, f"grep -q . {HOME}/ticker-nohup")
    vm.run("mkdir -p /sys/fs/cgroup/ticking && echo 40M > /sys/fs/cgroup/ticking/memory.max")
    vm.run(
        "echo $$ > /sys/fs/cgroup/ticking/cgroup.procs; "
        "setsid /usr/local/bin/ticker hand < /dev/null > /dev/null 2>&1 &"
    )
    wait_for(vm, "grep -q . /root/ticker-hand")
    vm.run(by_user("setsid sleep 12345 < /dev/null > /dev/null 2>&1 &"))


def wait_for(vm: Machine, command: str) -> None:
    vm.run(f"until {command}; do sleep 0.3; done", timeout=120)


def ask(vm: Machine) -> dict[str, Any]:
    """What the manifold says of itself."""
    answer: dict[str, Any] = json.loads(
        vm.run(["socat", "-t", "30", "-", "UNIX-CONNECT:/tmp/manifold/socket"]).stdout
    )
    return answer


def starts_and_counts(vm: Machine, path: str) -> tuple[list[dict[str, Any]], list[int]]:
    """What a ticker was started as, each time, and its numbers since the last time."""
    starts: list[dict[str, Any]] = []
    numbers: list[int] = []
    for line in vm.get(path).decode().splitlines():
        if line.startswith("{"):
            starts.append(json.loads(line))
            numbers = []
        else:
            numbers.append(int(line))
    return starts, numbers


def assert_goes_on(vm: Machine) -> None:
    first = ask(vm)
    wrong = {name: held for name, held in first["checks"].items() if held is not True}
    assert not wrong, wrong
    vm.run("sleep 2")
    second = ask(vm)
    still = [name for name, count in first["counts"].items() if second["counts"][name] <= count]
    assert not still, f"these stand still: {still}"
    log = vm.get(f"{HOME}/manifold/log").decode().splitlines()
    numbers = [int(line.split()[0]) for line in log]
    assert numbers == list(range(1, len(numbers) + 1))
    assert_others_go_on(vm)


def assert_others_go_on(vm: Machine) -> None:
    for path in (f"{HOME}/ticker-at", "/root/ticker-hand"):
        starts, numbers = starts_and_counts(vm, path)
        assert len(starts) == 1
        assert numbers == list(range(1, len(numbers) + 1))
    assert vm.run("wc -l < /sys/fs/cgroup/ticking/cgroup.procs").stdout.strip() == "1"
    assert_tmux(vm)
    starts, _ = starts_and_counts(vm, f"{HOME}/ticker-nohup")
    assert all(start == starts[0] for start in starts)
    assert starts[0]["argv"][2] == "a $b %c"
    assert starts[0]["environment"] == '50% of "it"'
    assert starts[0]["cwd"] == "/var/tmp"
    assert (starts[0]["nofile"][0], starts[0]["nice"], starts[0]["umask"]) == (555, 5, 0o077)


def assert_tmux(vm: Machine) -> None:
    """Asked by its user, as ever: the editor has its text, the shell its variable."""
    shown = vm.run(by_user("tmux capture-pane -p -t work:0")).stdout
    assert UNSAVED in shown, shown
    assert vm.run(f"ls {HOME}/.note.swp", check=False).code == 0
    vm.run(by_user("tmux send-keys -t work:1 clear Enter 'echo kept=$kept on $(tty)' Enter"))
    wait_for(vm, by_user("tmux capture-pane -p -t work:1 | grep -q '^kept=42 on /dev/pts/'"))
    # A client with a terminal of its own can attach, and let go.  Of an input that ended, script(1)
    # would tell the shell in there.
    client = "tmux attach -t work"
    vm.run(
        by_user(
            "rm -f quiet; mkfifo quiet; "
            f"TERM=linux script -qfc '{client}' seen 0<> quiet > /dev/null 2>&1 &"
        )
    )
    wait_for(vm, f"grep -q kept=42 {HOME}/seen")
    vm.run(by_user("tmux detach-client -s work"))
    wait_for(vm, f"! pgrep -xf '{client}'")


def tickers(rows: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of the job of at, which is carried, and of that of nohup, which starts again."""
    found = [row for name, row in rows.items() if name.startswith(TICKERS)]
    return sorted(found, key=lambda row: str(row["verdict"]))


def assert_planned(vm: Machine, rows: Mapping[str, Any]) -> None:
    assert "RemoveIPC=no" in rows[MANIFOLD]["reason"], rows[MANIFOLD]
    at, nohup = tickers(rows)
    assert at["verdict"] == "carried" and "will not mail its output" in at["reason"], at
    assert nohup["verdict"] == "restarted" and "ticker nohup" in nohup["reason"], nohup
    [hand] = [row for name, row in rows.items() if name.startswith("processes:root/ticker")]
    assert hand["verdict"] == "carried"
    assert "no rule names" in rows[UNDECLARED]["reason"]


def assert_returned(vm: Machine, session: Mapping[str, Any]) -> None:
    rows = {row["id"]: row for row in session["workloads"]}
    at, nohup = tickers(rows)
    assert (at["outcome"], nohup["outcome"]) == ("carried", "restarted"), (at, nohup)
    starts, numbers = starts_and_counts(vm, f"{HOME}/ticker-nohup")
    assert len(starts) == 2 and numbers
    assert vm.run("pgrep -f 'sleep 12345'", check=False).code == 1


def assert_fresh(vm: Machine) -> None:
    """What was damaged is gone: nothing starts it again.  The others are there."""
    assert vm.run("pgrep -f bin/manifold", check=False).code == 1
    assert_others_go_on(vm)
