# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which processes somebody would miss, and which rule names them."""

import dataclasses
from pathlib import Path

import pytest

from liveupdated import systemd
from liveupdated.procs import places, trees, unit
from liveupdated.procs.look import Process
from liveupdated.procs.places import Place
from liveupdated.procs.rules import ProcessRule

SESSION = "/user.slice/user-1000.slice/session-3.scope"
PANE = "/user.slice/user-1000.slice/user@1000.service/tmux-spawn-1.scope"
SHELLS = {"/usr/bin/bash", "/usr/bin/dash"}
TTY = 34816


def process(pid: int, parent: int, line: str, cgroup: str = SESSION, tty: int = 0) -> Process:
    argv = tuple(line.split())
    exe = f"/usr/bin/{argv[0].removeprefix('-')}"
    return Process(pid, parent, pid, pid, tty, pid, 1000, argv[0][:15], exe, argv, cgroup)


def seen(*processes: Process, rules: tuple[ProcessRule, ...] = ()) -> trees.Seen:
    return trees.find({each.pid: each for each in processes}, rules, SHELLS)


LOGIN = (
    process(10, 1, "sshd-session alice"),
    process(11, 10, "-bash", tty=TTY),
)


def test_a_shell_at_its_prompt_is_not_missed() -> None:
    assert seen(*LOGIN) == trees.Seen([], [])


def test_what_was_started_from_it_is() -> None:
    editor, script = process(12, 11, "vim note", tty=TTY), process(13, 1, "bash backup.sh")
    found = seen(*LOGIN, editor, script, process(14, 13, "rsync"))
    assert [tree.pids for tree in found.others] == [(12,), (13, 14)]


def test_the_main_process_of_a_service_is_its_units_in_a_login_too() -> None:
    kiosk, job = process(12, 1, "kiosk"), process(13, 12, "job")
    found = trees.find({12: kiosk, 13: job}, (), SHELLS, mains={12})
    assert [tree.pids for tree in found.others] == [(13,)]


def test_who_asks_for_the_update_does_not_stand_in_its_way() -> None:
    asker = process(13, 12, "python3 /usr/bin/liveupdatectl update")
    pager = dataclasses.replace(process(14, 11, "less"), group=13)
    found = seen(*LOGIN, process(12, 11, "watch liveupdatectl", tty=TTY), asker, pager)
    assert found.others == []


def test_a_rule_takes_the_whole_tree_wherever_it_lives() -> None:
    rule = ProcessRule("/usr/bin/tmux", "memory", cgroup="*/session-*")
    pane = process(21, 20, "-bash", PANE, TTY)
    found = seen(process(20, 1, "tmux new"), pane, process(22, 21, "vim x", PANE), rules=(rule,))
    [(tree, by)] = found.declared
    assert (tree.pids, by, found.others) == ((20, 21, 22), rule, [])


def test_an_editor_below_an_undeclared_tmux_is_counted_once() -> None:
    pane = process(21, 20, "-bash", SESSION, TTY)
    found = seen(process(20, 1, "tmux new"), pane, process(22, 21, "vim x", SESSION))
    assert [tree.pids for tree in found.others] == [(20, 21, 22)]


def test_a_scheduler_is_not_one_of_its_jobs() -> None:
    cron = "/system.slice/cron.service"
    main, waiting = process(30, 1, "cron -f", cron), process(31, 30, "cron -f", cron)
    found = seen(main, waiting, process(32, 31, "sh -c job", cron))
    assert [tree.root.pid for tree in found.others] == [32]


def test_the_last_rule_that_fits_decides() -> None:
    job = process(40, 1, "sleep 5")
    rules = (ProcessRule("*", "memory"), ProcessRule("/usr/bin/sleep", "no", arguments="sleep ?"))
    assert len(seen(job, rules=rules[:1]).declared) == 1
    assert [tree.root for tree in seen(job, rules=rules).others] == [job]


@pytest.mark.parametrize(
    ("cgroup", "expected"),
    [
        (SESSION, Place.HERE),
        (PANE, Place.USERS),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/x.service", Place.ELSEWHERE),
        ("/system.slice/redis.service", Place.ELSEWHERE),
        ("/system.slice/redis.service/below", Place.ELSEWHERE),
        ("/system.slice/atd.service", Place.SPAWNED),
        ("/system.slice/run-1.scope", Place.HERE),
        ("/system.slice/liveupdated-process-ab.service", Place.HERE),
        ("/machine.slice/libpod-12.scope/container", Place.ELSEWHERE),
        ("/machine.slice/machine-qemu-1.scope", Place.ELSEWHERE),
        ("/init.scope", Place.ELSEWHERE),
        ("/hand/below", Place.HERE),
    ],
)
def test_places(cgroup: str, expected: Place) -> None:
    assert places.place(cgroup) is expected


def test_a_cgroup_made_by_hand_belongs_to_no_unit() -> None:
    assert places.by_hand("/hand/below")
    assert not places.by_hand(SESSION) and not places.by_hand("/")


def test_a_script_is_called_by_its_name() -> None:
    script = dataclasses.replace(process(1, 0, "python3 /usr/bin/backup"), comm="backup")
    assert script.label == "backup"
    assert process(1, 0, "tmux new").label == "tmux"


def test_a_rule_knows_what_was_brought_back_by_the_cgroup_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "RUN", tmp_path)
    units = tmp_path / systemd.RUNTIME_UNITS
    units.mkdir(parents=True)
    name, group = f"{places.OWN}1.service", "/system.slice/atd.service/50% \\"
    place = unit.Place("a job", "", group)
    (units / name).write_text(unit.text(place, unit.CARRY, tmp_path, "digest"))
    assert places.origin(f"/system.slice/{name}") == group
    assert places.origin(f"/system.slice/{places.OWN}2.service").endswith("2.service")
    rule = ProcessRule("/usr/bin/job", "memory", cgroup="/system.slice/atd.service/*")
    found = seen(process(10, 1, "job", f"/system.slice/{name}"), rules=(rule,))
    assert [tree.root.pid for tree, _ in found.declared] == [10]


def test_who_waits_for_a_job_of_at_is_known() -> None:
    group = "/system.slice/atd.service"
    atd, fork, job = (
        process(20 + n, max(1, 19 + n), line, group) for n, line in enumerate(("atd", "atd", "sh"))
    )
    atd = dataclasses.replace(atd, parent=1)
    processes = {each.pid: each for each in (atd, fork, job)}
    assert trees.waiter(processes, job) == fork
    assert trees.waiter(processes, fork) is None
    assert trees.waiter(processes, process(30, 1, "sh")) is None
