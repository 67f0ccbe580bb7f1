# SPDX-License-Identifier: LGPL-2.1-or-later
"""What runs as the user, in whose manager something is to be found, started or stopped.

Started by `ask`, with a question on stdin; the answer goes to stdout, both in JSON.
"""

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from liveupdated import bootset, byhand, systemd
from liveupdated.carry import declaring_file
from liveupdated.errors import LiveUpdateError
from liveupdated.host import Host
from liveupdated.session import Json, Outcome, Verdict
from liveupdated.users import App, Look, Unit, desktop, wishes

GRAPHICAL = ("graphical-session.target", "graphical-session-pre.target")
"""What a graphical login brings up, by way of the desktop's own targets (systemd.special(7))."""
# How a message bus calls the unit that it makes for what it starts without a unit file
# (dbus-broker-launch(1)); what was asked for is asked for again.
BUS_STARTED = "dbus-:"
# Not devices, mounts and swaps: they are the system's, most of a user's manager, and it neither
# starts nor stops them.
LOOKED_AT = ("*.service", "*.scope", "*.slice", "*.socket", "*.target", "*.timer", "*.path")
SYSTEM_WIDE_RUNTIME = "/run/systemd/user/"
NOT_CARRIED = (
    "its unit says X-LiveUpdate=carry, and the memory of a user's service cannot be carried: make "
    "it a system service with User=, or name its program by a rule for processes"
)
SCOPE = (
    "a scope: its processes were started from outside systemd, which cannot start them again "
    "(a rule for processes can)"
)


def main() -> int:
    """Do the step that the argument names."""
    systemd.MANAGER = ("--user",)
    systemd.RUN = Path(os.environ["XDG_RUNTIME_DIR"])
    systemd.RUNTIME_UNITS = "systemd/user"
    systemd.BUS_SOCKET = "bus"
    try:
        said = {"answer": STEPS[sys.argv[1]](json.load(sys.stdin))}
    except (LiveUpdateError, OSError) as error:
        said = {"error": str(error)}
    json.dump(said, sys.stdout)
    return 0


# --- look ---


def look(_: Json) -> Json:
    """A `Look`."""
    variables = environment()
    seen = judge(
        Host([], LOOKED_AT).units,
        _unit_folders(),
        desktop.data_folders(variables),
        desktop.autostarted(variables),
    )
    return dataclasses.asdict(as_wished(seen, wishes.read(variables)))


def as_wished(seen: Look, wished: wishes.Wishes) -> Look:
    """With those applications only that the user wants to be opened again."""
    return dataclasses.replace(
        seen,
        apps=[app for app in seen.apps if wished.wants(app.id)],
        unwanted=[app.id for app in seen.apps if not wished.wants(app.id)],
        problem=wished.problem,
    )


def environment() -> dict[str, str]:
    """The manager's, where the session puts what its programs need."""
    lines = systemd.systemctl("show-environment").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _unit_folders() -> list[str]:
    return systemd.manager("UnitPath").get("UnitPath", "").split()


def judge(
    units: bootset.Units,
    unit_folders: Iterable[str],
    data_folders: Iterable[Path],
    autostarted: Callable[[str], bool],
) -> Look:
    """What is there, of all units of a user's manager."""
    data_folders = list(data_folders)
    volatile = [folder for folder in unit_folders if _is_volatile(folder)]
    links = bootset.volatile_links(
        folders=volatile, lasting=[each for each in unit_folders if each not in volatile]
    )
    activated = bootset.bus_activated(
        folders=[str(folder / "dbus-1/services") for folder in data_folders]
    )
    alone = bootset.boot_set(units, links, activated)
    login = bootset.boot_set(units, links, activated, also=_graphical(units))
    by_hand = [name for name in byhand.found(units, login) if not name.startswith(BUS_STARTED)]
    apps: dict[str, list[str]] = {}
    scopes: list[str] = []
    for name, unit in sorted(units.items(), key=_opened):
        if unit.get("ActiveState") not in bootset.RUNNING or not name.endswith(desktop.KINDS):
            continue
        app = desktop.application(name)
        if app and autostarted(app):
            by_hand = [each for each in by_hand if each != name]
        elif app and desktop.find(app, data_folders):
            apps.setdefault(app, []).append(unit.get("ControlGroup", ""))
            by_hand = [each for each in by_hand if each != name]
        elif name.endswith(".scope") and name != "init.scope":
            scopes.append(name)
    declared = [
        name
        for name, unit in sorted(units.items())
        if name.endswith(".service")
        and unit.get("ActiveState") == "active"
        and declaring_file(unit)
    ]
    running = [
        name
        for name, unit in sorted(units.items())
        if name.endswith(".service")
        and unit.get("SubState") == "running"
        and not bootset.plumbing(name)
        and name not in (*by_hand, *declared)
    ]
    return Look(
        units=[
            *(_unit(units, name, Verdict.BLOCKS, NOT_CARRIED) for name in declared),
            *(_by_hand(units, login, name) for name in by_hand if name not in declared),
            *(_unit(units, name, Verdict.LOST, SCOPE) for name in scopes),
        ],
        apps=[App(app, cgroups) for app, cgroups in apps.items()],
        stopped=bootset.stopped_by_hand(units, alone),
        starts=[name for name in running if name in alone.started],
        others=[
            name for name in running if name not in alone.started and not desktop.application(name)
        ],
    )


def _opened(item: tuple[str, systemd.Properties]) -> tuple[int, str]:
    """Units in the order in which they came up."""
    name, unit = item
    return int(unit.get("ActiveEnterTimestampMonotonic") or 0), name


def _is_volatile(folder: str) -> bool:
    return bootset.volatile({"FragmentPath": f"{folder}/"})


def _graphical(units: bootset.Units) -> set[str]:
    """What a graphical login starts: all that is part of its targets, or brings them along."""
    parts = {
        name for target in GRAPHICAL for name in bootset.names(units.get(target, {}), "ConsistsOf")
    }
    return {
        name
        for name, unit in units.items()
        if unit.get("ActiveState") in bootset.RUNNING
        and (
            name in parts
            or name in GRAPHICAL
            or not set(GRAPHICAL).isdisjoint(bootset.companions(units, name))
        )
    }


def _by_hand(units: bootset.Units, login: bootset.BootSet, name: str) -> Unit:
    verdict, reason, facts = byhand.judge(units, login, name)
    file = units[name].get("FragmentPath", "")
    if verdict is Verdict.RESTARTED and file.startswith(SYSTEM_WIDE_RUNTIME):
        return _unit(units, name, Verdict.LOST, f"its unit file {file} is gone after a boot")
    return _unit(units, name, verdict, reason, facts)


def _unit(
    units: bootset.Units,
    name: str,
    verdict: Verdict,
    reason: str,
    facts: Mapping[str, Json] | None = None,
) -> Unit:
    facts = dict(facts if facts is not None else byhand.facts(units, name))
    return Unit(name, verdict, reason, units[name].get("ControlGroup", ""), facts)


# --- and the rest ---


def again(question: Json) -> Json:
    """At the save: whether the unit still runs, and what is left of its time."""
    facts = question["facts"]
    return {"saved": byhand.look_again(question["name"], facts), "facts": facts}


def start(question: Json) -> Json:
    """Outcome and reason."""
    return byhand.start_again(question["name"], question["facts"], question["saved"])


def stop(question: Json) -> Json:
    """Outcome and reason."""
    systemd.stop(question["name"])
    return Outcome.CARRIED, "stopped by hand: its manager would start it, stopped again"


def await_all(question: Json) -> Json:
    """Names to outcome and reason, of services that the manager starts by itself."""
    return {name: byhand.up(name) for name in question["names"]}


STEPS: Mapping[str, Callable[[Json], Json]] = {
    "look": look,
    "again": again,
    "start": start,
    "stop": stop,
    "await": await_all,
}

if __name__ == "__main__":
    sys.exit(main())
