# SPDX-License-Identifier: LGPL-2.1-or-later
"""The session document: durable, whole, and refused when it was touched."""

import json
import os
from pathlib import Path

import pytest

from liveupdated.errors import BadSession, NotFound
from liveupdated.session import (
    Outcome,
    Session,
    State,
    Store,
    Target,
    Verdict,
    Workload,
    from_json,
    new_session,
    to_json,
    write_durably,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def full_session() -> Session:
    session = new_session("update")
    session.target = Target("7.3", "7.3", "/boot/vmlinuz", "ab" * 32, ["/boot/i"], "root=x", "ff")
    session.workloads = [
        Workload(
            id="services:a.service",
            kind="services",
            name="a.service",
            verdict=Verdict.CARRIED,
            reason="declared",
            facts={"main": 7},
            saved={"launch": "00"},
            outcome=Outcome.RESTARTED,
        )
    ]
    session.arrival = session.origin
    session.mark("frozen", "services:a.service")
    return session


def test_a_stored_session_comes_back_as_it_was(store: Store) -> None:
    session = full_session()
    store.store(session)
    assert store.load(session.id) == session


def test_json_round_trip_keeps_every_type() -> None:
    session = full_session()
    again = from_json(json.loads(json.dumps(to_json(session))))
    assert again == session
    assert isinstance(again.workloads[0].verdict, Verdict)


def test_an_altered_session_is_refused(store: Store) -> None:
    session = full_session()
    store.store(session)
    file = store.folder(session.id) / "session.json"
    file.write_text(file.read_text().replace('"main":7', '"main":8'))
    with pytest.raises(BadSession, match="altered"):
        store.load(session.id)


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"format":1}', '{"format":99,"session":{}}'])
def test_a_damaged_session_is_refused(store: Store, damage: str) -> None:
    session = full_session()
    store.store(session)
    (store.folder(session.id) / "session.json").write_text(damage)
    with pytest.raises(BadSession):
        store.load(session.id)


def test_a_session_of_another_shape_is_refused() -> None:
    data = to_json(full_session())
    data["surprise"] = 1
    with pytest.raises(BadSession, match="another shape"):
        from_json(data)


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "a.b"])
def test_a_session_id_never_leaves_the_folder(store: Store, name: str) -> None:
    with pytest.raises(NotFound):
        store.folder(name)


def test_nobody_else_can_read_a_session(store: Store) -> None:
    session = full_session()
    store.store(session)
    assert store.folder(session.id).stat().st_mode & 0o077 == 0
    assert (store.folder(session.id) / "session.json").stat().st_mode & 0o077 == 0


def test_one_session_is_current_until_it_is_closed(store: Store) -> None:
    assert store.current() is None
    session = full_session()
    store.open(session)
    assert store.current() == session
    artifacts = store.artifacts(session, "services:a.service")
    artifacts.mkdir()
    (artifacts / "pages-1.img").write_bytes(b"secret")
    with pytest.raises(BadSession, match="still planned"):
        store.close(session)
    session.state = State.CONFIRMED
    store.close(session)
    assert store.current() is None
    assert store.load(session.id).state is State.CONFIRMED
    assert not artifacts.exists()


def test_what_travels_by_pmem_lies_there_and_goes_with_the_session(store: Store) -> None:
    session = full_session()
    session.carrier = "pmem"
    store.open(session)
    artifacts = store.artifacts(session, "services:a.service")
    assert artifacts.parent == store.root / "pmem" / session.id
    artifacts.mkdir(parents=True)
    session.state = State.CONFIRMED
    store.close(session)
    assert list((store.root / "pmem").iterdir()) == []


def test_a_carrier_is_one_of_ours_or_refused(store: Store) -> None:
    session = full_session()
    session.carrier = "../../tmp"
    with pytest.raises(BadSession, match="travels by"):
        store.artifacts(session, "services:a.service")


def test_sessions_are_listed_newest_first_and_a_bad_one_hides_none(store: Store) -> None:
    sessions = [full_session() for _ in range(3)]
    for number, session in enumerate(sessions):
        store.store(session)
        os.utime(store.folder(session.id), (number, number))
    bad = store.folder(sessions[1].id) / "session.json"
    bad.write_text("{}")
    os.utime(store.folder(sessions[1].id), (1, 1))
    assert [session.id for session in store.all()] == [sessions[2].id, sessions[0].id]


def test_a_durable_write_never_follows_a_planted_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    target = tmp_path / "file"
    (tmp_path / f".file.{os.getpid()}").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic link"):
        write_durably(target, b"x")
    assert victim.read_text() == "precious"


def test_only_states_before_the_end_are_open() -> None:
    ends = {State.CONFIRMED, State.DEGRADED, State.MISSED, State.ABANDONED, State.REHEARSED}
    assert {state for state in State if not state.open} == ends
