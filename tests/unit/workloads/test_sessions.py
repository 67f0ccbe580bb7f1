# SPDX-License-Identifier: LGPL-2.1-or-later
"""User sessions: names, desktop files, what is believed, and what a plan says."""

import os
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from liveupdated import paths, systemd
from liveupdated.config import Config
from liveupdated.errors import ServiceError
from liveupdated.host import Host
from liveupdated.session import Outcome, Verdict, Workload
from liveupdated.users import (
    App,
    Look,
    User,
    agent,
    ask,
    desktop,
    logins,
    ownrestore,
    reopen,
    wishes,
)
from liveupdated.workloads import sessions

ALICE = User("alice", 4001, 4001, linger=True)
BOB = User("bob", 4002, 4002)
ME = User("me", os.getuid(), os.getgid())


@pytest.mark.parametrize(
    ("unit", "app"),
    [
        ("app-gnome-org.gnome.Nautilus-1234.scope", "org.gnome.Nautilus"),
        ("app-org.kde.dolphin@5f3c.service", "org.kde.dolphin"),
        (r"app-KDE-gnome\x2dcalc-77.scope", "gnome-calc"),
        ("app-flatpak-org.x.Y-1.scope", "org.x.Y"),
        ("app-org.x.Y.service", "org.x.Y"),
        ("vte-spawn-1.scope", ""),
        ("app.slice", ""),
        ("foo.service", ""),
    ],
)
def test_an_applications_unit_holds_its_id(unit: str, app: str) -> None:
    assert desktop.application(unit) == app


def test_a_desktop_id_is_escaped_as_systemd_does() -> None:
    assert desktop.escape("a-b c") == r"a\x2db\x20c"
    assert desktop.unescape(desktop.escape("ä-ö.x_y:z")) == "ä-ö.x_y:z"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("foo %U", ["foo"]),
        ("foo --name=%c %k %%", ["foo", "--name=Foo", "FILE", "%"]),
        ("foo %i", ["foo", "--icon", "pic"]),
        (r'sh -c "echo \\"a\\" \\$B c"', ["sh", "-c", 'echo "a" $B c']),
        (r"foo\sbar", ["foo", "bar"]),
        ("", []),
    ],
)
def test_its_command_is_what_the_desktop_file_says(
    tmp_path: Path, line: str, words: list[str]
) -> None:
    file = tmp_path / "x.desktop"
    file.write_text(f"[Desktop Entry]\nName=Foo\nIcon=pic\nExec={line}\n[Other]\nExec=no\n")
    assert desktop.command(file) == [str(file) if word == "FILE" else word for word in words]


@pytest.mark.parametrize("line", ["Terminal=true", "Hidden=true"])
def test_what_cannot_be_started_by_its_file_is_not_found(tmp_path: Path, line: str) -> None:
    applications = tmp_path / "applications/kde"
    applications.mkdir(parents=True)
    file = applications / "x.desktop"
    file.write_text("[Desktop Entry]\nExec=x\n")
    assert desktop.find("kde-x", [tmp_path]) == file
    assert desktop.find("../kde/x", [tmp_path]) is None
    file.write_text(f"[Desktop Entry]\nExec=x\n{line}\n")
    assert desktop.find("kde-x", [tmp_path]) is None


# --- the agent ---


def unit(**properties: str) -> dict[str, str]:
    running = {"ActiveState": "active", "SubState": "running", "LoadState": "loaded"}
    return running | {"CanStart": "yes"} | properties


def look(**units: dict[str, str]) -> Any:
    shown = {name.replace("_", "."): unit for name, unit in units.items()}
    shown["default.target"] = unit(Names="default.target", Wants="enabled.service")
    for name, each in shown.items():
        each.setdefault("Id", name)
    return agent.judge(shown, [], [], lambda app: app == "auto")


def test_what_the_manager_starts_is_not_by_hand() -> None:
    seen = look(enabled_service=unit(), byhand_service=unit())
    assert seen.starts == ["enabled.service"]
    assert [(each.name, each.verdict) for each in seen.units] == [("byhand.service", "restarted")]


def test_what_a_graphical_login_starts_is_not_by_hand() -> None:
    graphical = "graphical-session.target"
    seen = look(
        desk_target=unit(BindsTo=graphical, Wants="panel.service"),
        panel_service=unit(),
        part_service=unit(),
        **{graphical.replace(".", "_"): unit(ConsistsOf="part.service", CanStart="no")},
        **{"dbus-:1_2-org_x@0_service": unit(Transient="yes")},
    )
    assert seen.units == []
    assert {"panel.service", "part.service"} <= set(seen.others)


def test_an_autostarted_application_is_the_sessions() -> None:
    seen = look(**{"app-gnome-auto-1_scope": unit(), "app-gnome-gone-1_scope": unit()})
    assert seen.apps == []
    assert [(each.name, each.verdict) for each in seen.units] == [
        ("app-gnome-gone-1.scope", "lost")
    ]


# --- root's half ---


def rows(
    monkeypatch: pytest.MonkeyPatch, user: User, said: Any, pids: tuple[int, ...] = ()
) -> dict[str, Workload]:
    monkeypatch.setattr(ask, "ask", lambda *_: said)
    host = Host([], spoken_for_pids=set(pids))
    return {row.name: row for row in sessions._in_manager(host, user, sessions._look(user))}


def seen(**changed: Any) -> dict[str, Any]:
    by_hand = {"name": "a.service", "verdict": "restarted", "reason": "by hand", "cgroup": ""}
    return {
        "units": [by_hand | {"facts": {"files": {}}}],
        "apps": [{"id": "org.x.Y", "cgroups": []}],
        "stopped": ["off.service"],
        "starts": ["on.service"],
        "others": [],
    } | changed


def test_a_lingering_users_units_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    found = rows(monkeypatch, ALICE, seen())
    assert {name: row.verdict for name, row in found.items()} == {
        "alice": Verdict.RESTARTED,
        "alice:a.service": Verdict.RESTARTED,
        "alice:off.service": Verdict.CARRIED,
        "alice:org.x.Y": Verdict.REOPENED,
    }
    assert found["alice:a.service"].needs == found["alice"].provides


def test_anybody_elses_end_with_the_login(monkeypatch: pytest.MonkeyPatch) -> None:
    found = rows(monkeypatch, BOB, seen())
    assert found["bob:a.service"].verdict is Verdict.LOST
    assert "enable-linger bob" in found["bob:a.service"].reason
    assert "bob:off.service" not in found


@pytest.mark.parametrize(
    "said",
    [
        None,
        {"units": []},
        seen(starts=["../../etc/x"]),
        seen(stopped=["a/b.service"]),
        seen(apps=[{"id": "../x", "cgroups": []}]),
        seen(units=[{"name": "a.service", "verdict": "carried", "reason": "", "cgroup": ""}]),
    ],
)
def test_what_no_manager_says_is_not_believed(monkeypatch: pytest.MonkeyPatch, said: Any) -> None:
    (row,) = rows(monkeypatch, ALICE, said).values()
    assert (row.name, row.verdict) == ("alice", Verdict.LOST)
    assert "not known" in row.reason


def test_a_cgroup_that_is_not_the_users_is_not_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host([])
    for cgroup in ("/", "/system.slice", "/user.slice/user-4001.slice/user@4001.service/../.."):
        assert not sessions._spoken_for(host, ALICE, [cgroup])
    assert host.spoken_for_pids == set()


def test_logins_are_agreed_to_by_default_and_units_are_not() -> None:
    (pattern,) = Config().update.accept_loss
    session = {"Name": "alice", "Id": "3", "TTY": "tty1", "Class": "user"}
    login = sessions._login(session)
    assert login.verdict is Verdict.LOST
    assert fnmatchcase(login.id, pattern)
    assert not fnmatchcase("sessions:alice:a.service", pattern)


# --- asking ---


def agent_says(monkeypatch: pytest.MonkeyPatch, *command: str) -> None:
    monkeypatch.setattr(ask, "AGENT", command)


def test_an_agent_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    agent_says(monkeypatch, "sh", "-c", "sleep 100")
    with pytest.raises(ServiceError, match="does not answer"):
        ask.ask(ME, "look", None, 0.3)


def test_an_agent_that_talks_without_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "ANSWER_LIMIT", 1 << 20)
    agent_says(monkeypatch, "sh", "-c", "exec yes")
    with pytest.raises(ServiceError, match="too much"):
        ask.ask(ME, "look", None, 60)


@pytest.mark.parametrize("said", ["", "no json", "[]", "3", '{"other": 1}', '{"error": "x"}'])
def test_an_agent_that_says_nothing_useful_is_an_error(
    monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    agent_says(monkeypatch, "sh", "-c", 'printf %s "$0"', said)
    with pytest.raises(ServiceError, match="cannot be worked with"):
        ask.ask(ME, "", None, 60)


# --- reopening ---


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What `reopen.main` starts, in a session of GNOME 48 in which org.x.Open is open."""
    monkeypatch.setattr(paths, "REOPEN", tmp_path / "reopen")
    monkeypatch.setattr(systemd, "MANAGER", systemd.MANAGER)
    shown = "app-gnome-org.x.Open-12.scope loaded active running Open\n"
    monkeypatch.setattr(systemd, "systemctl", lambda *words: shown)
    for name in ("XDG_CONFIG_HOME", "XDG_CONFIG_DIRS"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("XDG_CURRENT_DESKTOP", "XFCE")
    found: list[str] = []
    monkeypatch.setattr(reopen, "start", found.append)
    return found


def test_an_application_is_left_for_its_user(tmp_path: Path, started: list[str]) -> None:
    reopen.put(ME, "org.x.Y")
    reopen.put(ME, "org.x.Y")
    assert reopen.waiting() == {ME.uid: ["org.x.Y"]}
    assert (tmp_path / f"reopen/{ME.uid}").stat().st_mode & 0o777 == 0o700
    with pytest.raises(ServiceError, match="no desktop id"):
        reopen.put(ME, "../x")
    assert reopen.main() == 0
    assert (started, reopen.waiting()) == (["org.x.Y"], {ME.uid: []})


def test_applications_are_opened_in_their_order_and_not_twice(started: list[str]) -> None:
    for app, place in (("b", 10), ("org.x.Open", 3), ("a", 2), ("older", None), ("c", 1)):
        reopen.put(ME, app, place)
    reopen.put(ME, "b")  # its place is known
    assert reopen.main() == 0
    assert started == ["older", "c", "a", "b"]
    assert reopen.waiting() == {ME.uid: []}


def test_a_desktop_that_restores_its_session_goes_first(
    tmp_path: Path, started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CURRENT_DESKTOP", "KDE")
    monkeypatch.setattr(reopen, "POLL_S", 0)
    shown = iter(["", "", "app-org.kde.kate@1.service loaded active\n"])
    monkeypatch.setattr(systemd, "systemctl", lambda *words: next(shown))
    reopen.put(ME, "org.kde.kate")
    assert reopen.main() == 0
    assert (started, reopen.waiting()) == ([], {ME.uid: []})


@pytest.mark.parametrize(
    ("mode", "itself"), [("restorePreviousLogout", True), ("emptySession", False)]
)
def test_plasma_restores_its_session_unless_its_settings_say_otherwise(
    tmp_path: Path, mode: str, itself: bool
) -> None:
    (tmp_path / "ksmserverrc").write_text(f"[General]\nloginMode={mode}\n")
    environment = {"XDG_CURRENT_DESKTOP": "KDE", "XDG_CONFIG_HOME": str(tmp_path)}
    assert ownrestore.does(environment) == itself
    assert ownrestore.does({"XDG_CURRENT_DESKTOP": "KDE", "HOME": "/nowhere"})


# --- what its user wants ---


def wish(folder: Path, text: str) -> None:
    file = folder / wishes.FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_what_its_user_excludes_is_not_opened_and_is_named_in_the_plan(
    tmp_path: Path, started: list[str]
) -> None:
    wish(tmp_path / "XDG_CONFIG_DIRS", "reopen = false\n")
    wish(tmp_path / "XDG_CONFIG_HOME", 'exclude = ["org.x.*"]\n')
    reopen.put(ME, "org.x.Y")
    reopen.put(ME, "other")
    assert reopen.main() == 0
    assert started == ["other"]
    apps = [App("org.x.Y", []), App("other", [])]
    seen = agent.as_wished(Look([], apps, [], [], []), wishes.read(os.environ))
    assert ([app.id for app in seen.apps], seen.unwanted) == (["other"], ["org.x.Y"])
    rows = {row.name: row for row in sessions._in_manager(Host([]), ME, seen)}
    assert set(rows) == {"me", "me:other"}
    assert "not opened again, as me wishes: org.x.Y" in rows["me"].reason


def test_wishes_are_written_as_they_are_read(tmp_path: Path) -> None:
    environment = {"XDG_CONFIG_HOME": str(tmp_path / "of-the-user")}
    wished = wishes.Wishes(False, ("org.x.*", 'a"\u00e4\\b'))
    wishes.write(environment, wished)
    assert wishes.read(environment) == wished


@pytest.mark.parametrize(
    ("text", "words"),
    [("reopen = 1", "true or false"), ("exclude = 'x'", "a list"), ("x = 1", "no such"), ("[", "")],
)
def test_a_wish_that_cannot_be_read_is_told_and_all_is_opened(
    tmp_path: Path, started: list[str], text: str, words: str
) -> None:
    wish(tmp_path / "XDG_CONFIG_HOME", text)
    found = wishes.read(os.environ)
    assert words in found.problem and wishes.FILE in found.problem
    assert found.wants("org.x.Y")


def test_a_user_who_is_somebody_else_by_now_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "account", lambda uid: User("carol", uid, uid))
    facts = {"uid": 4001, "user": "alice", "app": "org.x.Y"}
    workload = Workload("sessions:x", "sessions", "x", Verdict.REOPENED, "", facts=facts)
    result = sessions.restart(workload)
    assert result.outcome is Outcome.FAILED
    assert "not alice's any more" in result.reason


def test_the_agent_works_for_its_users_manager_only() -> None:
    """Importing it changes nothing for who imports it."""
    assert systemd.MANAGER == ("--system",)
