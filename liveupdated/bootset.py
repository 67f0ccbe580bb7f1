# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a boot alone would start, as far as systemd's words tell, and what differs from that now.

Pure functions of the properties of `systemctl show`.  What differs was done by hand since the boot:
by an administrator, by systemd-run, by a program.  A kernel's boot parameters (`systemd.unit=`) are
taken to stay what they are.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from liveupdated.systemd import Properties

Units = Mapping[str, Properties]

PULLS = ("Wants", "Requires", "BindsTo", "Upholds")
"""Start of one is start of the other (systemd.unit(5)).  Not Requisite=: that only checks."""

# Gone after a boot.  Not the generators' folders: what they hold is made again.
VOLATILE = ("/run/systemd/system/", "/run/systemd/transient/", "/run/systemd/system.control/")
# The same of a user manager (systemd.unit(5), "Unit File Load Path").
_USERS_VOLATILE = re.compile(r"/run/(user/\d+/)?systemd/(user|user\.control|transient)/")
LINK_FOLDERS = ("run/systemd/system", "run/systemd/transient", "run/systemd/system.control")
LASTING_FOLDERS = (
    "etc/systemd/system",
    "etc/systemd/system.control",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
    "run/systemd/generator",
    "run/systemd/generator.early",
    "run/systemd/generator.late",
)
# dbus-daemon(1), standard_system_servicedirs, without the one below /run.
ACTIVATION_FOLDERS = (
    "usr/local/share/dbus-1/system-services",
    "usr/share/dbus-1/system-services",
    "lib/dbus-1/system-services",
)

KINDS = (".service", ".socket", ".timer", ".path", ".target")
"""Types that somebody starts and stops by hand.  Mounts, scopes and the like are not looked at."""
BUS = "D-Bus"
RUNNING = ("active", "activating", "reloading", "refreshing")
SESSIONS = (
    "user@",
    "user-runtime-dir@",
    "getty@",
    "autovt@",
    "serial-getty@",
    "container-getty@",
    "console-getty.",
)
"""logind and the consoles start and end these themselves, as users come and go."""
OWN = "liveupdated"
# dbus is what everything else talks through: nobody misses it by itself.
PLUMBING = ("dbus.service", "dbus-broker.service")


@dataclass(frozen=True)
class BootSet:
    """What comes by itself after a boot."""

    started: frozenset[str]
    """The boot's own transaction starts it."""
    on_demand: Mapping[str, str]
    """It is started when its trigger fires: unit to its socket, timer, path, automount, or BUS."""


# --- read from disk, beside the properties ---


def volatile_links(
    root: Path = Path("/"),
    folders: Iterable[str] = LINK_FOLDERS,
    lasting: Iterable[str] = LASTING_FOLDERS,
) -> frozenset[tuple[str, str]]:
    """Pairs (unit, what it pulls in) that only links of this boot say: `systemctl --runtime enable`
    or `add-wants`."""
    return frozenset(set(_links(root, folders)) - set(_links(root, lasting)))


def _links(root: Path, folders: Iterable[str]) -> Iterator[tuple[str, str]]:
    for folder in folders:
        for suffix in ("wants", "requires", "upholds"):
            for link in (root / folder).glob(f"*.{suffix}/*"):
                yield link.parent.name.removesuffix(f".{suffix}"), link.name


def bus_activated(
    root: Path = Path("/"), folders: Iterable[str] = ACTIVATION_FOLDERS
) -> frozenset[str]:
    """Unit names, mostly aliases, that the bus starts when their bus name is called."""
    found = set()
    for folder in folders:
        for file in (root / folder).glob("*.service"):
            for line in file.read_text(errors="replace").splitlines():
                key, _, value = line.partition("=")
                if key.strip() == "SystemdService":
                    found.add(value.strip())
    return frozenset(found)


# --- what boot would start ---


def names(unit: Properties, key: str) -> list[str]:
    """A property that is a list of unit names."""
    return unit.get(key, "").split()


def default_target(units: Units) -> str | None:
    """The loaded unit that `default.target` is a name of."""
    return next((name for name in units if "default.target" in names(units[name], "Names")), None)


def boot_set(
    units: Units,
    links: Collection[tuple[str, str]] = frozenset(),
    activated: Collection[str] = frozenset(),
    also: Iterable[str] = (),
) -> BootSet:
    """What comes by itself: the default target and the devices that are there, all they pull in,
    and what any of that, or the bus, would start when asked.  `also`: what else comes by itself."""
    target = default_target(units)
    roots = [*also, target] if target else [*also]
    roots += [
        name
        for name, unit in units.items()
        if name.endswith(".device") and unit.get("ActiveState") == "active"
    ]
    started = frozenset(_reach(units, roots, links))
    on_demand: dict[str, str] = {}
    queue = [(name, trigger) for trigger in sorted(started) for name in _triggered(units, trigger)]
    queue += [
        (name, BUS)
        for name, unit in sorted(units.items())
        if not set(names(unit, "Names")).isdisjoint(activated)
    ]
    while queue:
        # What has both counts as its socket's or the bus's: that asks again, a timer may not soon.
        first, trigger = queue.pop(queue.index(min(queue, key=lambda each: _fires_once(each[1]))))
        for name in sorted(_reach(units, [first], links) - started - on_demand.keys()):
            on_demand[name] = trigger
            queue += [(other, name) for other in _triggered(units, name)]
    return BootSet(started, on_demand)


def _reach(
    units: Units, roots: Iterable[str], links: Collection[tuple[str, str]], *, lasting: bool = True
) -> set[str]:
    """The roots and all they pull in; `lasting`: without what does not outlive a boot."""
    found: set[str] = set()
    queue = list(roots)
    while queue:
        name = queue.pop()
        unit = units.get(name)
        if unit is None or name in found or (lasting and not _comes_back(unit)):
            continue
        found.add(name)
        queue += [
            other for key in PULLS for other in names(unit, key) if (name, other) not in links
        ]
    return found


def _triggered(units: Units, name: str) -> list[str]:
    return names(units[name], "Triggers")


def _comes_back(unit: Properties) -> bool:
    if unit.get("UnitFileState") == "masked-runtime":
        return True
    return unit.get("LoadState") == "loaded" and not volatile(unit)


def volatile(unit: Properties) -> bool:
    """Whether the unit's own file is gone after a boot."""
    if unit.get("UnitFileState") == "masked-runtime":
        return False
    file = unit.get("FragmentPath", "")
    return (
        unit.get("Transient") == "yes"
        or file.startswith(VOLATILE)
        or _USERS_VOLATILE.match(file) is not None
    )


# --- what differs ---


def is_systemds_own(name: str, unit: Properties) -> bool:
    """systemd's own machinery, that nobody enables or disables."""
    return name.startswith("systemd-") and unit.get("UnitFileState") in ("static", "generated")


def _ours_to_judge(name: str, unit: Properties) -> bool:
    return (
        name.endswith(KINDS)
        and not name.startswith((OWN, *SESSIONS))
        and not is_systemds_own(name, unit)
    )


def plumbing(name: str) -> bool:
    """Whether it is part of the system that carries, and nothing that would be missed."""
    return name in PLUMBING or name.startswith(("systemd-", OWN, *SESSIONS))


def interrupted(unit: Properties, trigger: str) -> bool:
    """Whether its trigger has fired and a boot alone would not make it fire again."""
    return _fires_once(trigger) and unit.get("Id", "").endswith(".service")


def _fires_once(trigger: str) -> bool:
    return trigger.endswith((".timer", ".path"))


def by_hand(units: Units, boot: BootSet) -> list[str]:
    """Units that run, that boot alone would not start, and that no other such unit brings along."""
    found = []
    for name, unit in sorted(units.items()):
        trigger = boot.on_demand.get(name, "")
        if (
            unit.get("ActiveState") in RUNNING
            and _ours_to_judge(name, unit)
            and name not in boot.started
            and (not trigger or interrupted(unit, trigger))
            and not _refuses_hands(unit)
            and not _spent(unit)
        ):
            found.append(name)
    return _without_companions(units, found)


def _refuses_hands(unit: Properties) -> bool:
    """RefuseManualStart=: whatever it came with brings it again.  (What is masked or gone cannot be
    started either, but may have been once.)"""
    return unit.get("LoadState") == "loaded" and unit.get("CanStart") == "no"


def _spent(unit: Properties) -> bool:
    """A timer that will not fire again (RemainAfterElapse=): started again, it would."""
    return unit.get("Id", "").endswith(".timer") and unit.get("SubState") == "elapsed"


def companions(units: Units, name: str) -> list[str]:
    """What the start of the unit brings along, and what it triggers, and so on."""
    found: set[str] = set()
    queue = [name]
    while queue:
        new = _reach(units, [queue.pop()], (), lasting=False) - found
        found |= new
        queue += [other for each in new for other in _triggered(units, each)]
    return sorted(found - {name})


def _without_companions(units: Units, found: list[str]) -> list[str]:
    """Leave out what comes with another of them; of two that bring each other, one stays.

    A transient unit comes with another only if that one sets it up anew: if that is transient too.
    What runs because a timer or a path of them fired does not come with it.
    """
    kept = list(found)
    for name in found:
        for other in kept:
            pulled = other != name and name in _reach(units, [other], (), lasting=False)
            asked = other.endswith(".socket") and name in names(units[other], "Triggers")
            if (pulled or asked) and _sets_up(units[other], units[name]):
                kept.remove(name)
                break
    return kept


def _sets_up(puller: Properties, unit: Properties) -> bool:
    return puller.get("Transient") == "yes" or unit.get("Transient") != "yes"


def stopped_by_hand(units: Units, boot: BootSet, held: Collection[str] = ()) -> list[str]:
    """Units that boot starts and that somebody has stopped since; `held` are those that this boot
    was kept from starting, because they had been stopped by hand before."""
    return [
        name
        for name, unit in sorted(units.items())
        if name in boot.started
        and unit.get("ActiveState") == "inactive"
        and _ours_to_judge(name, unit)
        and unit.get("StopWhenUnneeded") != "yes"
        and not _asked_for(units, unit)
        and (_was_stopped(name, unit) if _was_active(unit) else name in held)
    ]


def _was_active(unit: Properties) -> bool:
    """In this boot."""
    return unit.get("ActiveEnterTimestampMonotonic", "0") not in ("", "0")


def _asked_for(units: Units, unit: Properties) -> bool:
    """Whether something that triggers it still listens: then it is idle, not stopped.

    (Kept from starting while its socket listens, it would make the socket hit its trigger limit.)
    """
    return any(
        units.get(trigger, {}).get("ActiveState") == "active"
        for trigger in names(unit, "TriggeredBy")
        if not trigger.endswith(".timer")
    )


def _was_stopped(name: str, unit: Properties) -> bool:
    """Whether a unit that is inactive now was stopped, rather than came to its end.

    A service that ends by itself leaves "active" because its main process has exited; one that is
    told to stop leaves it first (service_sigchld_event() and service_stop() of systemd's
    service.c).  One that was killed by a signal did not end by itself either.
    """
    if not name.endswith(".service"):
        return True
    if unit.get("RemainAfterExit") == "yes":
        return True
    if unit.get("Type") == "oneshot":
        return False
    exited = int(unit.get("ExecMainExitTimestampMonotonic") or 0)
    left = int(unit.get("ActiveExitTimestampMonotonic") or 0)
    return exited > left or unit.get("ExecMainCode") == "2"  # CLD_KILLED, sigaction(2)
