# SPDX-License-Identifier: LGPL-2.1-or-later
"""What boot alone would start, on the units of a real trixie (tests/unit/workloads/*.json)."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveupdated import bootset
from liveupdated.bootset import BootSet, boot_set, by_hand, companions, stopped_by_hand

TRIXIE = json.loads((Path(__file__).parent / "trixie-boot.json").read_text())

Units = dict[str, dict[str, str]]


@pytest.fixture
def units() -> Units:
    """As systemd 257 of trixie shows them, a minute after the boot."""
    return {name: dict(unit) for name, unit in TRIXIE["units"].items()}


def add(units: Units, name: str, **properties: str) -> None:
    units[name] = {
        "Id": name,
        "Names": name,
        "LoadState": "loaded",
        "ActiveState": "active",
        "SubState": "running",
        "FragmentPath": f"/usr/lib/systemd/system/{name}",
        "ActiveEnterTimestampMonotonic": "5000",
        "Type": "simple",
        **properties,
    }


def boot(units: Units, links: frozenset[tuple[str, str]] = frozenset()) -> BootSet:
    return boot_set(units, links, TRIXIE["activated"])


def pull(units: Units, unit: str, key: str, other: str) -> None:
    units[unit][key] = f"{units[unit].get(key, '')} {other}".strip()


def test_a_fresh_boot_has_nothing_by_hand(units: Units) -> None:
    assert by_hand(units, boot(units)) == []
    assert stopped_by_hand(units, boot(units)) == []


def test_the_boot_starts_what_its_target_pulls_in_from_afar(units: Units) -> None:
    started = boot(units).started
    assert {"graphical.target", "redis-server.service", "systemd-journald.socket"} <= started


@pytest.mark.parametrize("name", ["a.service", "a@b.service", "a.socket", "a.timer", "a.path"])
def test_what_nothing_pulls_in_was_started_by_hand(units: Units, name: str) -> None:
    add(units, name)
    assert by_hand(units, boot(units)) == [name]


@pytest.mark.parametrize(
    "name", ["user@1000.service", "getty@tty4.service", "a.scope", "a.mount", "liveupdated.service"]
)
def test_what_others_look_after_is_left_to_them(units: Units, name: str) -> None:
    add(units, name)
    assert by_hand(units, boot(units)) == []


def test_systemds_own_static_services_come_and_go(units: Units) -> None:
    add(units, "systemd-importd.service", UnitFileState="static")
    add(units, "systemd-networkd.service", UnitFileState="disabled")
    assert by_hand(units, boot(units)) == ["systemd-networkd.service"]


@pytest.mark.parametrize("key", bootset.PULLS)
def test_every_way_of_pulling_in_counts(units: Units, key: str) -> None:
    add(units, "a.service")
    pull(units, "multi-user.target", key, "a.service")
    assert by_hand(units, boot(units)) == []


def test_a_link_of_this_boot_only_does_not_count(units: Units) -> None:
    add(units, "a.service")
    pull(units, "multi-user.target", "Wants", "a.service")
    links = frozenset({("multi-user.target", "a.service")})
    assert by_hand(units, boot(units, links)) == ["a.service"]


@pytest.mark.parametrize("folder", bootset.VOLATILE)
def test_a_unit_file_of_this_boot_only_does_not_come_back(units: Units, folder: str) -> None:
    add(units, "a.service", FragmentPath=f"{folder}a.service", Wants="b.service")
    add(units, "b.service")
    pull(units, "multi-user.target", "Wants", "a.service")
    assert "b.service" not in boot(units).started
    assert by_hand(units, boot(units)) == ["a.service"]


def test_a_generated_unit_comes_back(units: Units) -> None:
    add(units, "a.service", FragmentPath="/run/systemd/generator.late/a.service")
    pull(units, "multi-user.target", "Wants", "a.service")
    assert by_hand(units, boot(units)) == []


def test_a_mask_of_this_boot_only_is_gone_after_the_next(units: Units) -> None:
    mask = {"LoadState": "masked", "FragmentPath": "/run/systemd/system/a.service"}
    add(units, "a.service", UnitFileState="masked-runtime", **mask)
    add(units, "b.service", UnitFileState="masked", LoadState="masked", CanStart="no")
    pull(units, "multi-user.target", "Wants", "a.service b.service")
    assert by_hand(units, boot(units)) == ["b.service"]


def test_what_a_device_wants_comes_with_the_device(units: Units) -> None:
    add(units, "dev-x.device", Wants="a.service", SubState="plugged")
    add(units, "a.service")
    assert by_hand(units, boot(units)) == []


@pytest.mark.parametrize("trigger", ["a.socket", "a.automount"])
def test_what_is_started_on_demand_waits_for_the_demand(units: Units, trigger: str) -> None:
    add(units, trigger, Triggers="a.service")
    add(units, "a.service", Requires="b.service")
    add(units, "b.service")
    pull(units, "sockets.target", "Wants", trigger)
    assert by_hand(units, boot(units)) == []
    assert boot(units).on_demand["b.service"] == trigger


@pytest.mark.parametrize("trigger", ["a.timer", "a.path"])
def test_what_a_timer_started_runs_again_since_the_timer_may_not_fire(
    units: Units, trigger: str
) -> None:
    add(units, trigger, Triggers="a.service")
    add(units, "a.service")
    pull(units, "timers.target", "Wants", trigger)
    assert by_hand(units, boot(units)) == ["a.service"]


def test_a_socket_that_asks_again_counts_more_than_a_timer(units: Units) -> None:
    add(units, "a.timer", Triggers="a.service")
    add(units, "z.socket", Triggers="a.service")
    add(units, "a.service")
    pull(units, "timers.target", "Wants", "a.timer z.socket")
    assert by_hand(units, boot(units)) == []


def test_what_the_bus_starts_is_not_by_hand(units: Units) -> None:
    add(units, "polkit.service", Type="dbus")
    assert by_hand(units, boot(units)) == []
    assert boot(units).on_demand["polkit.service"] == bootset.BUS


def test_dependencies_come_with_the_unit_that_was_started(units: Units) -> None:
    add(units, "a.service", Wants="b.service")
    add(units, "b.service", Requires="c.service a.service")
    add(units, "c.service")
    assert by_hand(units, boot(units)) == ["b.service"]
    assert companions(units, "b.service") == ["a.service", "c.service"]


def test_a_transient_dependency_has_to_be_set_up_too(units: Units) -> None:
    add(units, "a.service", Wants="t.service")
    add(units, "t.service", Transient="yes")
    assert by_hand(units, boot(units)) == ["a.service", "t.service"]


def test_what_refuses_manual_starts_came_with_something(units: Units) -> None:
    add(units, "a.target", CanStart="no")
    assert by_hand(units, boot(units)) == []


def test_a_timer_that_has_elapsed_would_fire_again_if_started(units: Units) -> None:
    add(units, "a.timer", SubState="elapsed")
    assert by_hand(units, boot(units)) == []


# --- stopped ---


def stop(units: Units, name: str, **properties: str) -> None:
    """A service as it is after `systemctl stop`: told first, then its process exits."""
    told = {"ActiveExitTimestampMonotonic": "7000", "ExecMainExitTimestampMonotonic": "7001"}
    add(units, name, **{"ActiveState": "inactive", "SubState": "dead", **told, **properties})
    pull(units, "multi-user.target", "Wants", name)


@pytest.mark.parametrize("name", ["a.service", "a.socket", "a.timer", "a.path", "a.target"])
def test_what_boot_would_start_and_is_not_there_was_stopped(units: Units, name: str) -> None:
    stop(units, name)
    assert stopped_by_hand(units, boot(units)) == [name]


def test_a_service_that_came_to_its_end_was_not_stopped(units: Units) -> None:
    stop(units, "a.service", ExecMainExitTimestampMonotonic="6999", ExecMainCode="1")
    assert stopped_by_hand(units, boot(units)) == []


def test_a_service_that_was_killed_by_hand_was_stopped(units: Units) -> None:
    stop(units, "a.service", ExecMainExitTimestampMonotonic="6999", ExecMainCode="2")
    assert stopped_by_hand(units, boot(units)) == ["a.service"]


def test_a_oneshot_that_stays_active_can_only_have_been_stopped(units: Units) -> None:
    exited = {"Type": "oneshot", "ExecMainExitTimestampMonotonic": "6000"}
    stop(units, "a.service", RemainAfterExit="yes", **exited)
    stop(units, "b.service", **exited)
    assert stopped_by_hand(units, boot(units)) == ["a.service"]


@pytest.mark.parametrize(
    "properties",
    [
        {"ActiveState": "failed"},
        {"ActiveEnterTimestampMonotonic": "0"},
        {"StopWhenUnneeded": "yes"},
    ],
)
def test_what_is_down_for_another_reason_was_not_stopped(
    units: Units, properties: dict[str, str]
) -> None:
    stop(units, "a.service", **properties)
    assert stopped_by_hand(units, boot(units)) == []


def test_a_service_whose_socket_listens_is_idle(units: Units) -> None:
    stop(units, "a.service", TriggeredBy="a.socket")
    add(units, "a.socket", Triggers="a.service")
    assert stopped_by_hand(units, boot(units)) == []
    units["a.socket"]["ActiveState"] = "inactive"
    assert stopped_by_hand(units, boot(units)) == ["a.service"]


def test_what_was_held_once_is_still_stopped_until_somebody_starts_it(units: Units) -> None:
    never = {"ActiveEnterTimestampMonotonic": "0", "ExecMainExitTimestampMonotonic": "0"}
    stop(units, "a.service", **never)
    assert stopped_by_hand(units, boot(units), {"a.service"}) == ["a.service"]
    ended = {"ExecMainExitTimestampMonotonic": "6999", "ExecMainCode": "1"}
    stop(units, "a.service", **ended)
    assert stopped_by_hand(units, boot(units), {"a.service"}) == []


def test_what_was_disabled_too_needs_no_holding_back(units: Units) -> None:
    stop(units, "a.service")
    units["multi-user.target"]["Wants"] = ""
    assert stopped_by_hand(units, boot(units)) == []


# --- any set of units ---

NAMES = st.sampled_from([f"{name}.{kind}" for name in "abcd" for kind in ("service", "timer")])


@given(st.dictionaries(NAMES, st.tuples(st.sets(NAMES), st.booleans())), st.sets(NAMES))
def test_everything_that_runs_has_something_that_brings_it_back(
    pulls: dict[str, tuple[set[str], bool]], wanted: set[str]
) -> None:
    units: Units = {}
    add(units, "t.target", Names="t.target default.target", Wants=" ".join(wanted))
    for name, (pulled, active) in pulls.items():
        state = "active" if active else "inactive"
        add(units, name, Requires=" ".join(pulled), ActiveState=state)
    result = boot_set(units)
    hands = by_hand(units, result)
    brought = {other for name in hands for other in companions(units, name)}
    for name, (_, active) in pulls.items():
        assert not active or name in {*result.started, *hands, *brought}
    assert not result.started & set(hands)
    assert all(units[name]["ActiveState"] == "active" for name in hands)


# --- from disk ---


def link(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to("/dev/null")


def test_links_of_this_boot_are_told_from_those_that_last(tmp_path: Path) -> None:
    link(tmp_path / "run/systemd/system/x.target.wants/a.service")
    link(tmp_path / "run/systemd/system/x.target.requires/b.service")
    link(tmp_path / "etc/systemd/system/x.target.requires/b.service")
    link(tmp_path / "run/systemd/generator/x.target.wants/c.service")
    assert bootset.volatile_links(tmp_path) == {("x.target", "a.service")}


def test_the_bus_starts_units_that_its_service_files_name(tmp_path: Path) -> None:
    folder = tmp_path / "usr/share/dbus-1/system-services"
    folder.mkdir(parents=True)
    text = "[D-BUS Service]\nName=org.x\nExec=/bin/false\nSystemdService = dbus-org.x.service\n"
    (folder / "org.x.service").write_text(text)
    (folder / "org.y.service").write_text("[D-BUS Service]\nName=org.y\nExec=/bin/y\n")
    assert bootset.bus_activated(tmp_path) == {"dbus-org.x.service"}
