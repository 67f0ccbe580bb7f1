# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guard lets memory back only in the boot that the session jumped to."""

import dataclasses
from pathlib import Path

import pytest

from liveupdated.session import Boot, Session, State, Target, new_session
from liveupdated.update import guard

TOKEN = "0123456789abcdef"
ARRIVED = Boot("another-boot", "7.3.4", f"root=/dev/x liveupdated.token={TOKEN} quiet")


def jumping(token: str = TOKEN) -> Session:
    session = new_session("update")
    session.state = State.JUMPING
    session.target = Target("7.3.4", "7.3.4", "/boot/v", "", [], "root=/dev/x", token)
    return session


def test_our_own_jump_is_where_we_meant_to_be() -> None:
    assert guard.missed(jumping(), ARRIVED) == ""


def test_before_the_jump_is_the_same_boot() -> None:
    session = jumping()
    assert guard.same_boot(session, session.origin)
    assert not guard.same_boot(session, ARRIVED)


def test_a_fresh_boot_of_the_same_kernel_is_not_our_jump() -> None:
    fresh = dataclasses.replace(ARRIVED, cmdline="root=/dev/x quiet")
    assert "booted afresh" in guard.missed(jumping(), fresh)


def test_a_longer_token_that_begins_alike_is_not_ours() -> None:
    boot = dataclasses.replace(ARRIVED, cmdline=ARRIVED.cmdline.replace(TOKEN, TOKEN + "00"))
    assert guard.missed(jumping(), boot)


def test_another_kernel_with_our_token_is_named() -> None:
    assert "6.1 came up instead of 7.3.4" in guard.missed(
        jumping(), dataclasses.replace(ARRIVED, release="6.1")
    )


@pytest.mark.parametrize("state", [State.PLANNED, State.SAVING, State.SAVED])
def test_a_power_cut_before_the_jump_is_said_so(state: State) -> None:
    session = jumping()
    session.state = state
    assert f"before the jump (the session was {state})" in guard.missed(session, ARRIVED)


def test_a_session_of_another_machine_is_refused() -> None:
    session = jumping()
    session.machine_id = "f" * 32
    assert "another machine" in guard.missed(session, ARRIVED)


def test_a_second_boot_during_the_restore_is_refused() -> None:
    session = jumping()
    session.state = State.RESTORING
    session.arrival = dataclasses.replace(ARRIVED, boot_id="a-boot-between")
    assert "went down again" in guard.missed(session, ARRIVED)


@pytest.mark.parametrize(("loader", "meant"), [("208", True), ("114", False), ("", False)])
def test_a_kernel_loaded_by_hand_is_judged_by_its_loader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loader: str, meant: bool
) -> None:
    file = tmp_path / "bootloader_type"
    file.write_text(loader)
    monkeypatch.setattr(guard, "LOADER_TYPE", file)
    assert (guard.missed(jumping(token=""), ARRIVED) == "") is meant
