# SPDX-License-Identifier: LGPL-2.1-or-later
"""What of the processes somebody would miss: pure functions of `liveupdated.procs.look`.

Who logs in leaves a chain of processes behind: the network's server, the login program, a shell.
A shell that waits at its prompt has nothing to lose that a log-out would keep, so the chain is not
named; what was started from it is.  Nor is the chain that ends in liveupdatectl itself: whoever
asks for the update knows that.
"""

import dataclasses
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from liveupdated.procs import look
from liveupdated.procs.look import Process
from liveupdated.procs.places import Place, origin, place
from liveupdated.procs.rules import ProcessRule, deciding

SHELLS = Path("/etc/shells")
ASKER = "liveupdatectl"

LOGIN = frozenset(
    "sshd sshd-session sshd-auth dropbear mosh-server login agetty getty su sudo doas runuser "
    "systemd systemd-executor run0 pkttyagent polkit-agent-helper-1 "
    "gdm-session-worker sddm-helper lightdm".split()
)
"""Programs that are only there to let somebody in."""
HELPERS = frozenset(
    "ssh-agent gpg-agent scdaemon keyboxd dirmngr dbus-daemon dbus-broker dbus-broker-launch "
    "dbus-launch".split()
)
"""Programs that a login, or the first who needs them, starts again."""


@dataclass(frozen=True)
class Tree:
    """A process that counts, with all that descend from it."""

    root: Process
    pids: tuple[int, ...]


@dataclass(frozen=True)
class Seen:
    """What was found."""

    declared: list[tuple[Tree, ProcessRule]]
    others: list[Tree]


def find(
    processes: Mapping[int, Process],
    rules: Iterable[object],
    shells: Collection[str],
    spoken_for: Collection[int] = (),
    mains: Collection[int] = (),
) -> Seen:
    """The trees that a rule names, and those that none does.

    `mains` are the main processes of units: pam_systemd(8) moves that of a service with a login of
    its own (PAMName=, a console) to the login's scope, and it is its unit's nevertheless.
    """
    rules = list(rules)
    below = look.children(processes.values())
    outside = {pid for pid in spoken_for for pid in look.tree(pid, below)}
    places = {pid: place(process.cgroup) for pid, process in processes.items()}
    daemons = _daemons(processes, places) | set(mains)
    named: dict[int, ProcessRule] = {}
    for pid, process in processes.items():
        if places[pid] is not Place.ELSEWHERE and pid not in outside and pid not in daemons:
            known = dataclasses.replace(process, cgroup=origin(process.cgroup))
            rule = deciding(rules, known)
            if rule:
                named[pid] = rule
    declared = [
        (Tree(processes[pid], tuple(look.tree(pid, below))), rule)
        for pid, rule in named.items()
        if not any(above in named for above in look.ancestors(pid, processes))
    ]
    taken = {pid for tree, _ in declared for pid in tree.pids} | outside
    asking = _asking(processes, below)
    missed = {
        pid
        for pid, process in processes.items()
        if places[pid] in (Place.HERE, Place.SPAWNED)
        and pid not in taken
        and pid not in asking
        and pid not in daemons
        and process.program not in LOGIN | HELPERS
        and not at_prompt(process, shells)
    }
    others = [
        Tree(processes[pid], tuple(each for each in look.tree(pid, below) if each not in taken))
        for pid in missed
        if not any(above in missed for above in look.ancestors(pid, processes))
    ]
    declared.sort(key=lambda found: _age(found[0]))
    return Seen(declared, sorted(others, key=_age))


def _age(tree: Tree) -> tuple[int, int]:
    return tree.root.start, tree.root.pid


def _daemons(processes: Mapping[int, Process], places: Mapping[int, Place]) -> set[int]:
    """The schedulers themselves, and what they fork of themselves to wait for each job."""
    spawned = {pid for pid in processes if places[pid] is Place.SPAWNED}
    mains = {pid for pid in spawned if processes[pid].parent not in spawned}
    programs = {processes[pid].exe for pid in mains if processes[pid].parent == 1}
    return {pid for pid in spawned if processes[pid].exe in programs}


def waiter(processes: Mapping[int, Process], root: Process) -> Process | None:
    """The process of atd that waits for this job, mails its output and removes the file with it
    (run_file() of its atd.c): it must not outlive the job that is to be restored."""
    parent = processes.get(root.parent)
    if parent is None or parent.program != "atd" or place(parent.cgroup) is not Place.SPAWNED:
        return None
    return None if parent.parent == 1 else parent


def _asking(processes: Mapping[int, Process], below: Mapping[int, list[int]]) -> set[int]:
    """liveupdatectl, all above and below it, and the rest of its job (a pager)."""
    askers = {
        pid
        for pid, process in processes.items()
        if any(os.path.basename(word) == ASKER for word in process.argv[:3])
    }
    found = set(askers)
    for pid in askers:
        found.update(look.ancestors(pid, processes))
        found.update(look.tree(pid, below))
    groups = {processes[pid].group for pid in askers}
    return found | {pid for pid, process in processes.items() if process.group in groups}


def at_prompt(process: Process, shells: Collection[str]) -> bool:
    """Whether it is a shell that takes its commands from somebody at a terminal."""
    return (
        bool(process.tty)
        and process.exe.removesuffix(look.DELETED) in shells
        and all(word.startswith("-") for word in process.argv[1:])
        and not any("c" in word for word in process.argv[1:] if not word.startswith("--"))
    )


def login_shells(file: Path = SHELLS) -> frozenset[str]:
    """What shells(5) lists, as /proc/PID/exe has it."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(os.path.realpath(line) for line in lines if line.startswith("/"))
