# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the details window says, without a toolkit and without a display."""

import subprocess
import sys
from pathlib import Path

import pytest

from desktop.window import model
from desktop.window.model import Word
from liveupdated.ctl.plot import svg, update
from liveupdated.session import State, Verdict
from tests.unit.ctl import example, real

REPO = Path(__file__).parents[2]


def test_the_model_needs_no_toolkit() -> None:
    code = "import sys; from desktop.window import model; assert 'gi' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPO)


@pytest.mark.parametrize("name", [*Verdict, *State])
def test_every_verdict_and_state_has_its_word(name: str) -> None:
    assert model.word(name).text == name.capitalize()


def test_a_word_of_a_newer_daemon_is_shown_as_it_came() -> None:
    assert model.word("teleported\x1b") == Word("teleported\\x1b")


def test_workloads_are_grouped_by_verdict_and_ordinary_services_are_apart() -> None:
    view = model.plan_view(example.plan())
    assert [(group.title, [row.title for row in group.rows]) for group in view.groups] == [
        ("Would be lost", ["screen"]),
        ("Carried", ["redis-server.service"]),
    ]
    assert [row.title for row in view.ordinary] == ["cron.service", "ssh.service"]
    assert dict(view.facts)["Workloads"] == "Carried: 1, Restarted: 2, Lost: 1"


def test_a_row_tells_size_time_and_verdict() -> None:
    _, carried = model.plan_view(example.plan()).groups
    assert [word.text for word in carried.rows[0].words] == ["34.0 MiB", "2.30 s", "Carried"]


def test_a_loss_can_be_agreed_to_and_taken_back() -> None:
    plan = example.plan("process:screen: its terminal ends")
    (row,) = model.plan_view(plan).groups[0].rows
    assert (row.agreeable, row.agreed) == (True, False)
    (row,) = model.plan_view(plan, {"process:screen"}).groups[0].rows
    assert (row.agreeable, row.agreed) == (True, True)


def test_what_was_agreed_to_stays_in_sight_though_it_only_restarts() -> None:
    view = model.plan_view(example.plan(), {"units:cron.service"})
    assert [row.title for row in view.ordinary] == ["ssh.service"]
    assert view.groups[-1].rows[0].agreed


def test_a_verdict_of_a_newer_daemon_is_not_left_out() -> None:
    plan = example.plan()
    plan["workloads"].append(example.workload("new", "teleported"))
    assert model.plan_view(plan).groups[-1].rows[0].title == "new"


def test_the_question_names_what_it_costs() -> None:
    assert model.plan_view(example.plan()).question == (
        "Programs stand still for about 14.5 s. 1 workload is carried with its memory. "
        "2 start again and lose their memory. 1 is lost."
    )


def test_nothing_that_drives_a_terminal_or_a_label_gets_through() -> None:
    plan = example.plan("a\nb")
    plan["workloads"].append(example.workload("x\u202ey", "lost"))
    view = model.plan_view(plan)
    assert view.blockers == ("a\\x0ab",)
    assert all(row.title.isprintable() for group in view.groups for row in group.rows)


def test_kernels_tell_what_they_are_and_what_can_be_done() -> None:
    kernels = [example.kernel("7.3.4", staged=True), example.kernel("6.12", running=True)]
    kernels.append(example.kernel("6.1", blocked=True))
    new, running, blocked = model.kernel_rows(kernels)
    assert [word.text for word in new.words] == ["Staged"]
    assert (running.running, running.usable) == (True, True)
    assert (blocked.blocked, blocked.usable) == (True, False)


def test_a_session_tells_its_end_and_the_disappointments_first() -> None:
    detail, timeline = real.record(real.every_kind())
    view = model.session_view(detail, timeline)
    assert view.state == Word("Degraded", "warning")
    assert len(view.workloads) == 56
    bad = sum(row["outcome"] != row["verdict"] for row in detail["workloads"])
    assert {row.words[-1].text for row in view.workloads[:bad]} >= {"Failed"}
    assert view.phases


def test_history_has_a_row_a_session() -> None:
    (row,) = model.session_rows([example.session()])
    assert row.words == (Word("Degraded", "warning"),)
    assert "blackout 14.5 s" in row.subtitle


def test_a_job_tells_what_it_does_and_whether_it_can_be_stopped() -> None:
    job = {"Kind": "update", "Step": "saving", "Progress": 0.5, "Cancellable": False}
    assert model.job_view(job) == model.JobView("Updating", "saving", 0.5, False)


def test_without_a_schedule_there_is_no_next_update() -> None:
    assert not model.next_update({"NextUpdate": 0})
    assert model.next_update({"NextUpdate": example.NOW})


def test_the_picture_can_be_dark_where_nobody_knows_media_queries() -> None:
    drawn = update.draw(example.session_detail(), example.timeline())
    dark = svg.document(svg.toned(drawn, dark=True))
    light = svg.document(svg.toned(drawn, dark=False))
    assert "#0d1117" in dark
    assert "#0d1117" not in light
    assert "@media" not in dark + light
    assert "@media" in svg.document(drawn)
