# SPDX-License-Identifier: LGPL-2.1-or-later
"""Hooks: what a rule may say, what a command may answer, and what is vouched for."""

import getpass
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from liveupdated import hook
from liveupdated.errors import SaveFailed
from liveupdated.hook import Answer, Done, HookFailed
from liveupdated.host import Host
from liveupdated.session import Outcome, Verdict, Workload
from liveupdated.workloads import hooks
from liveupdated.workloads.hooks import HookRule

COMPLETE = {"save": ["/bin/true"], "resume": ["/bin/true"]}


def rule(**more: object) -> HookRule:
    given = {"hook": "h", "user": getpass.getuser(), "restore": ["/bin/true"], **more}
    made: HookRule = TypeAdapter(HookRule).validate_python(given)
    return made


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"restore": ["true"]}, "no absolute path"),
        ({"restore": "/bin/true"}, "valid list"),
        ({"save": ["/bin/true"]}, "needs `resume`"),
        ({"verdict": "carried"}, "cannot be carried"),
        ({"verdict": "lost"}, "restarted"),
        ({"limit": "5 parsecs"}, "no time span"),
        ({"limit": "1h"}, "300 s at most"),
        ({"limit": {"find": "2min"}}, "60 s at most"),
        ({"limit": {"fnid": "2s"}}, "no command fnid"),
        ({"needs": ["redis.service"]}, "does not begin with one of"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(more: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        rule(**more)


def test_limits_are_one_for_all_or_one_each() -> None:
    assert rule(limit="2min").limit_s("save") == 120
    assert rule(limit="2min").limit_s("find") == 60
    one = rule(limit={"save": "1min 30s"})
    assert (one.limit_s("save"), one.limit_s("restore")) == (90, 30)


@pytest.mark.parametrize("text", ["[]", "1", '{"present": 1}', '{"bytes": -1}', '{"x": 1}', "{"])
def test_an_answer_that_is_not_understood_fails(text: str) -> None:
    with pytest.raises(HookFailed, match="not understood"):
        hook.read_answer(text)


def test_an_answer_may_leave_out_anything() -> None:
    assert hook.read_answer(" \n") == Answer(present=True)
    assert hook.read_answer('{"present": false}') == Answer(present=False)
    assert hook.read_answer('{"bytes": 3, "reason": "r"}') == Answer(True, 3, "r")


def test_the_digest_knows_contents_modes_and_names(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    file = tmp_path / "folder/file"
    file.write_text("a")
    seen = {hook.digest(tmp_path)}
    for change in (
        lambda: file.write_text("b"),
        lambda: file.chmod(0o600),
        lambda: (tmp_path / "link").symlink_to("/etc/shadow"),
        lambda: file.rename(tmp_path / "file"),
    ):
        change()
        seen.add(hook.digest(tmp_path))
    assert len(seen) == 5


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What each command fails with; those that are not in it go well."""
    failing: dict[str, str] = {}

    def run(name: str, step: str, *_: object, **__: object) -> Done:
        if step in failing:
            raise HookFailed(f"{step} command failed", failing[step])
        return Done("", "")

    monkeypatch.setattr(hook, "run", run)
    monkeypatch.setattr(hook, "check", lambda command, user: None)
    return failing


def find(one: HookRule) -> Workload:
    host = Host(rules=[one])
    [workload] = hooks.find(host)
    assert host.spoken_for == {"h.service"}
    return workload


def ignore(mark: str) -> None:
    """No ledger here."""


def test_a_find_that_fails_blocks_and_its_loss_can_be_agreed_to(
    commands: dict[str, str], tmp_path: Path
) -> None:
    commands["find"] = "no answer"
    one = rule(**COMPLETE, find=["/bin/false"], provides=["unit:h.service"])
    workload = find(one)
    assert workload.verdict is Verdict.BLOCKS and "no answer" in workload.reason
    workload.verdict = Verdict.RESTARTED
    hooks.save(workload, tmp_path, ignore)
    assert workload.saved is None and not any(tmp_path.iterdir())
    assert hooks.restore(workload, tmp_path, ignore).outcome is Outcome.FAILED


def test_a_saved_one_is_restored_or_starts_afresh(commands: dict[str, str], tmp_path: Path) -> None:
    one = rule(**COMPLETE, restart=["/bin/true"], provides=["unit:h.service"], verdict="carried")
    workload = find(one)
    hooks.save(workload, tmp_path, ignore)
    assert hooks.restore(workload, tmp_path, ignore).outcome is Outcome.CARRIED
    commands["restore"] = "torn"
    result = hooks.restore(workload, tmp_path, ignore)
    assert result.outcome is Outcome.RESTARTED and "torn" in result.reason
    del commands["restore"]
    (tmp_path / hooks.STATE / "forged").touch()
    result = hooks.restore(workload, tmp_path, ignore)
    assert result.outcome is Outcome.RESTARTED and "altered" in result.reason
    commands["restart"] = "worse"
    result = hooks.restart(workload)
    assert result.outcome is Outcome.FAILED and "worse" in result.reason


def test_a_save_that_fails_says_so_in_its_own_words(
    commands: dict[str, str], tmp_path: Path
) -> None:
    commands["save"] = "locked"
    workload = find(rule(**COMPLETE, provides=["unit:h.service"]))
    with pytest.raises(SaveFailed, match="locked"):
        hooks.save(workload, tmp_path, ignore)
    commands["resume"] = "called"
    with pytest.raises(HookFailed, match="called"):
        hooks.resume(workload, tmp_path)
