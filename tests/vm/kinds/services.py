# SPDX-License-Identifier: LGPL-2.1-or-later
"""Services by the ready rules: redis with a client outside, postgres in the middle of a
transaction, memcached; nginx, which starts afresh; two processes that talk over IPv6, one whose
address is gone after the jump, one whose device stands in the way, one whose pid is taken."""

from tests.lab.qemu import Machine
from tests.vm.client import Client
from tests.vm.guest import HERE, JUMP_LIMIT_S
from tests.vm.kinds import Row
from tests.vm.postgres import Session

REDIS_PORT, POSTGRES_PORT = 6379, 5432
PORTS = [REDIS_PORT, POSTGRES_PORT]
KEYS, VALUE_BYTES = 256, 1 << 20
REDIS = b"""\
[Service]
PrivateUsers=no
ExecStart=
ExecStart=/usr/bin/redis-server /etc/redis/redis.conf --supervised systemd --daemonize no \\
 --bind 0.0.0.0 ::1 --protected-mode no --save "" --timeout 0 --enable-debug-command local
"""
POSTGRES = b"[Service]\nPrivateIPC=yes\n"
POSTGRES_SETUP = """
set -e
cd /etc/postgresql/*/main
sed -i "s/^#*listen_addresses.*/listen_addresses = '*'/" postgresql.conf
echo 'host all lab all trust' >> pg_hba.conf
systemctl start postgresql@17-main
cd /
runuser -u postgres -- psql -qc "create role lab login" -c "create table books (page int)" \
    -c "grant all on books to lab"
"""
PAIR = b"""\
[Service]
X-LiveUpdate=carry
ExecStart=/usr/local/bin/pair
[Install]
WantedBy=multi-user.target
"""
PAIR_LOG = "/var/lib/counter/pair"
GONE = "192.0.2.7"
ENDING = "valid_lft 86400 preferred_lft 86400"
"""An address with an end is no host state: nobody puts it back."""
STRANDED = b"""\
[Service]
X-LiveUpdate=carry
ExecStart=/usr/bin/python3 -c "import socket, time; \\
 a = socket.create_server(('', 4712)); \\
 b = socket.create_connection(('192.0.2.7', 4712)); c, _ = a.accept(); time.sleep(1e6)"
[Install]
WantedBy=multi-user.target
"""
# A device blocks; its loss is agreed to.
DEVICE = b"""\
[Service]
X-LiveUpdate=carry
StandardInput=file:/dev/kmsg
ExecStart=/usr/bin/sleep infinity
[Install]
WantedBy=multi-user.target
"""
# A child far above all other pids, so that nobody else is in the way of whoever takes its own.
VICTIM = b"""\
[Service]
X-LiveUpdate=carry
ExecStart=/bin/bash -c 'last=$$(cat /proc/sys/kernel/ns_last_pid); \\
 echo 300000 > /proc/sys/kernel/ns_last_pid; sleep infinity & \\
 echo $$last > /proc/sys/kernel/ns_last_pid; echo $$! > /var/lib/victim; wait'
[Install]
WantedBy=multi-user.target
"""
UNITS = {"victim": VICTIM, "pair": PAIR, "stranded": STRANDED, "device": DEVICE}
THIEF = """
pid=$(cat /var/lib/victim) pids=/proc/sys/kernel/ns_last_pid
cat > /etc/systemd/system/thief.service <<END
[Unit]
DefaultDependencies=no
Before=sysinit.target
[Service]
Type=oneshot
ExecStart=/bin/bash -c 'last=\\$\\$(cat $pids); until [ -d /proc/$pid ]; do \\
 echo $((pid - 1)) > $pids; sleep infinity & done; echo \\$\\$last > $pids'
RemainAfterExit=yes
[Install]
WantedBy=sysinit.target
END
mkdir -p /etc/systemd/system/sysinit.target.wants
ln -s ../thief.service /etc/systemd/system/sysinit.target.wants/
"""
PLANNED = {
    "services:redis-server.service": "carried",
    "services:postgresql@17-main.service": "carried",
    "services:memcached.service": "carried",
    "services:victim.service": "carried",
    "services:pair.service": "carried",
    "services:stranded.service": "carried",
    "services:device.service": "restarted",
    "units:nginx.service": "restarted",
}
OUTCOMES = PLANNED
ACCEPT = ["services:device.service"]
PAGES = "/root/pages"
"""Bytes of redis's memory that were written before its freeze, and after it."""
ALTER = f"""
folder=$(printf services:memcached.service | sha256sum | cut -c 1-16)
for image in /var/lib/liveupdated/current/$folder/images/core-*.img; do
    echo forged >> $image
done
redis=$(printf services:redis-server.service | sha256sum | cut -c 1-16)
stat -c %s /var/lib/liveupdated/current/$redis/{{ahead,images}}/pages-1.img > {PAGES}
{THIEF}
"""
ALTERED = {
    "services:memcached.service": ("restarted", "altered"),
    # By the thief's `sleep` mostly: a thread of the kernel may be quicker.
    "services:victim.service": ("restarted", "was taken by"),
}
REFUSAL = """
systemd-run --unit=ghost bash -c \
    'exec 9<>/var/ghost; head -c 80M /dev/zero >&9; rm /var/ghost; touch /run/ghost; sleep infinity'
until [ -e /run/ghost ]; do sleep 1; done
printf '[[workload]]\\nunit = "ghost.service"\\ncarry = "memory"\\n' \
    > /etc/liveupdated/workloads.d/ghost.toml
"""
REFUSAL_WORDS = ["ghost.service could not be checkpointed", "ghost"]
REFUSAL_UNDO = "rm /etc/liveupdated/workloads.d/ghost.toml; systemctl stop ghost"

_clients: dict[int, tuple[Client, Session]] = {}
"""Outside of the machine, by its id."""


def furnish(vm: Machine) -> None:
    vm.put(REDIS, "/etc/systemd/system/redis-server.service.d/override.conf")
    vm.put(POSTGRES, "/etc/systemd/system/postgresql@.service.d/override.conf")
    vm.put(HERE / "pair", "/usr/local/bin/pair", 0o755)
    for name, unit in UNITS.items():
        vm.put(unit, f"/etc/systemd/system/{name}.service")
    vm.run(f"ip address add {GONE}/32 dev lo {ENDING}")
    vm.run(
        "systemctl daemon-reload; systemctl restart redis-server; systemctl start memcached",
        timeout=JUMP_LIMIT_S,
    )
    vm.run(
        f"systemctl enable --now nginx {' '.join(UNITS)}; systemctl enable redis-server memcached",
        timeout=JUMP_LIMIT_S,
    )
    vm.run(f"redis-cli debug populate {KEYS} page {VALUE_BYTES}", timeout=JUMP_LIMIT_S)
    vm.run(POSTGRES_SETUP, timeout=JUMP_LIMIT_S)
    session = Session(vm.port(POSTGRES_PORT), "lab", "postgres", JUMP_LIMIT_S)
    session.ask("begin")
    session.ask("insert into books values (1), (2)")
    _clients[id(vm)] = (Client(vm.port(REDIS_PORT)), session)


def assert_goes_on(vm: Machine) -> None:
    client, session = _clients[id(vm)]
    assert session.ask("select page from books order by page") == ["1", "2"]
    seen = client.answers
    vm.run(
        f"until [ $(redis-cli --raw get asked) -gt {seen + 2} ]; do sleep 0.5; done",
        timeout=JUMP_LIMIT_S,
    )
    assert not client.error, client.error
    assert vm.run(f"redis-cli strlen page:{KEYS - 1}").stdout.strip() == str(VALUE_BYTES)
    reached = int(vm.run(["tail", "-n", "1", PAIR_LOG]).stdout)
    vm.run(f"until [ $(tail -n 1 {PAIR_LOG}) -gt {reached + 5} ]; do sleep 0.5; done")
    mounts = vm.run("readlink /proc/1/ns/mnt /proc/$(systemctl show -P MainPID pair)/ns/mnt")
    assert len(set(mounts.stdout.split())) == 1, "its unit has no mounts of its own"
    numbers = list(map(int, vm.get(PAIR_LOG).decode().split()))
    assert numbers == list(range(1, len(numbers) + 1))
    # Nobody else sees what is not committed.
    count = "runuser -u postgres -- psql -Atc 'select count(*) from books'"
    assert vm.run(f"cd /; {count}").stdout.strip() == "0"
    answer = vm.run("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | socat -t 30 - TCP:127.0.0.1:80").stdout
    assert answer.startswith("HTTP/1.1 200 OK")


def assert_planned(vm: Machine, rows: dict[str, Row]) -> None:
    redis = rows["services:redis-server.service"]
    assert "/usr/lib/liveupdated/workloads.d/50-redis.toml" in redis["reason"]
    assert "1 TCP connection carried too" in redis["reason"]
    assert "2 TCP connections carried too" in rows["services:pair.service"]["reason"]
    assert redis["bytes"] > KEYS * VALUE_BYTES


def assert_returned(vm: Machine, session: Row) -> None:
    rows = {row["id"]: row["outcome_reason"] for row in session["workloads"]}
    assert GONE in rows["services:stranded.service"]
    assert "2 TCP connections closed" in rows["services:stranded.service"]
    assert "agreed" in rows["services:device.service"]
    assert "/dev/kmsg" in rows["services:device.service"]
    # QEMU, as whose client's host this one is seen, scales no windows: nor does this one now.
    assert " wscale:0,0 " in vm.run("ss -tniH sport = :6379").stdout


def assert_fresh(vm: Machine) -> None:
    """What was damaged is its unit's own again; what was not went on."""
    shown = vm.run("systemctl show memcached -p Type,Restart,NeedDaemonReload").stdout
    assert set(shown.split()) == {"Type=simple", "Restart=always", "NeedDaemonReload=no"}
    client, session = _clients.pop(id(vm))
    session.ask("commit")
    count = "runuser -u postgres -- psql -Atc 'select count(*) from books'"
    assert vm.run(f"cd /; {count}").stdout.strip() == "2"
    session.close()
    client.end()
    assert not client.error, client.error
    ahead, frozen = map(int, vm.get(PAGES).split())
    assert ahead > KEYS * VALUE_BYTES
    assert frozen < ahead / 4
