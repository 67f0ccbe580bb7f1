# SPDX-License-Identifier: LGPL-2.1-or-later
"""`liveupdatectl carry`: a rehearsal decides, and only then is anything declared."""

from tests.lab.qemu import Machine
from tests.vm.guest import JUMP_LIMIT_S, ctl, refused

ASK = "printf '%s\\r\\nquit\\r\\n' \"{}\" | socat -t 30 - TCP:127.0.0.1:11211"
OURS = "ls /etc/liveupdated/workloads.d /run/liveupdated/workloads.d"


def test_carry_and_forget(vm: Machine) -> None:
    # As a host without our ready rules: nobody has said anything.
    vm.run("cd /etc/liveupdated/workloads.d && touch 50-memcached.toml 50-redis.toml")
    vm.run("printf 'set a 0 0 5\\r\\nhello\\r\\nquit\\r\\n' | socat -t 30 - TCP:127.0.0.1:11211")
    main = vm.run(["systemctl", "show", "-P", "MainPID", "memcached"]).stdout
    vm.run(["liveupdatectl", "carry", "memcached.service"], timeout=JUMP_LIMIT_S)
    assert "hello" in vm.run(ASK.format("get a")).stdout
    assert vm.run(["systemctl", "show", "-P", "MainPID", "memcached"]).stdout == main
    assert [w["name"] for w in ctl(vm, "history last")["workloads"]] == ["memcached.service"]
    [found] = ctl(vm, "workloads --why memcached.service")
    assert found["verdict"] == "carried" and found["source"].startswith("/etc/liveupdated/")

    # Debian's redis has a user namespace: the obstacle is named, and nothing is declared.
    refused(vm, "liveupdatectl carry redis-server.service", "user namespace", "PrivateUsers=no")
    assert "carry-unit-redis" not in vm.run(OURS).stdout
    refused(vm, "liveupdatectl carry nothing", "no workload is called nothing", code=5)

    vm.run(["liveupdatectl", "forget", "memcached.service"], timeout=JUMP_LIMIT_S)
    [found] = ctl(vm, "workloads --why memcached.service")
    assert (found["verdict"], found["source"]) == ("restarted", "")
    refused(vm, "liveupdatectl forget memcached.service", "was not declared", code=5)
