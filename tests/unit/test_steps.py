# SPDX-License-Identifier: LGPL-2.1-or-later
"""Save, generator and restore over a kind that does as it is told: the order, and every failure."""

import dataclasses
import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from liveupdated import criu, paths, pci, systemd, unitrestore
from liveupdated.errors import (
    BadSession,
    BudgetExceeded,
    Cancelled,
    NoSpace,
    SaveFailed,
    ServiceError,
)
from liveupdated.session import (
    Mark,
    Outcome,
    Session,
    State,
    Store,
    Target,
    Verdict,
    Workload,
    mark_now,
    new_session,
    this_boot,
)
from liveupdated.update import bootfiles, guard, quickstop, restore, save
from liveupdated.workloads import Marker, Result

TOKEN = "0123456789abcdef"
GENERATOR = Path(__file__).parents[2] / "packaging/libexec/generator"


class Obedient:
    """A kind whose workloads do what their name says; remembers what was asked of it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.ahead: list[str] = []
        self.boot_file = "[Service]\n"

    def hold_files(self, workload: Workload) -> dict[str, str]:
        return {}

    def look_ahead(self, workload: Workload) -> None:
        assert not self.calls, "something is frozen already"
        workload.facts["looked"] = True

    def write_ahead(self, workload: Workload, artifacts: Path) -> None:
        self.ahead.append(workload.name)
        assert not self.calls, "something is frozen already"
        artifacts.mkdir(parents=True)
        (artifacts / "ahead").touch()

    def save(self, workload: Workload, artifacts: Path, mark: Marker) -> None:
        self.calls.append(f"save {workload.name}")
        assert (workload.verdict is Verdict.CARRIED) == workload.facts.pop("looked", False)
        if workload.name == "refuses":
            raise SaveFailed("refuses could not be checkpointed", "it has a reason")
        mark("frozen")
        (artifacts / "state").write_text("x")
        workload.saved = {}

    def commit(self, workload: Workload) -> None:
        self.calls.append(f"commit {workload.name}")
        if workload.name == "undying":
            raise SaveFailed("it does not die")

    def resume(self, workload: Workload, artifacts: Path) -> None:
        self.calls.append(f"resume {workload.name}")

    def boot_files(self, workload: Workload, artifacts: Path) -> dict[str, str]:
        return {f"{workload.name}.service.d/restore.conf": self.boot_file}

    def prepare(self, workload: Workload, artifacts: Path) -> None:
        self.calls.append(f"prepare {workload.name}")

    def restore(self, workload: Workload, artifacts: Path, mark: Marker) -> Result:
        self.calls.append(f"restore {workload.name}")
        if workload.name == "crashes":
            raise RuntimeError("a bug")
        return Result(Outcome.CARRIED)

    def restart(self, workload: Workload) -> Result:
        return Result(Outcome.RESTARTED, "memory is lost")


@pytest.fixture
def kind(monkeypatch: pytest.MonkeyPatch) -> Obedient:
    obedient = Obedient()
    for module in (save, bootfiles, restore):
        monkeypatch.setattr(module, "kind", lambda name: obedient)
    return obedient


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    state = tmp_path / "var/lib/liveupdated"
    monkeypatch.setattr(paths, "STATE", state)
    monkeypatch.setattr(paths, "RUNTIME", tmp_path / "run")
    monkeypatch.setattr(paths, "CLAIMED", tmp_path / "run/claimed")
    monkeypatch.setattr(paths, "WAITING", tmp_path / "run/waiting")
    monkeypatch.setattr(systemd, "RUN", tmp_path / "run")
    monkeypatch.setattr(systemd, "reload", lambda: generate_again(tmp_path))
    yield Store(state)


def generate_again(root: Path) -> None:
    """What a daemon-reload does for us, in a boot that `jump` has made."""
    if (root / "proc").exists():
        generate(root, root / "run/systemd/generator")


def generate(root: Path, out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    environment = {"PATH": os.environ["PATH"], "LIVEUPDATED_ROOT": str(root)}
    subprocess.run([GENERATOR, out, out, out], check=True, env=environment)


def opened(store: Store, *names: str, state: State = State.PLANNED) -> Session:
    session = new_session("update")
    session.state = state
    release = this_boot().release
    session.target = Target(release, release, "", "", [], "", TOKEN)
    session.workloads = [Workload(f"t:{n}", "t", n, Verdict.CARRIED, "") for n in names]
    store.open(session)
    return session


def ask_for_the_jump(store: Store, session: Session) -> None:
    saved = store.load(session.id)
    saved.mark("jump-requested")
    store.store(saved)


def jump(store: Store, session: Session, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    """Make this the boot after the session's jump."""
    session.origin = dataclasses.replace(session.origin, boot_id="the-boot-before")
    session.state = State.JUMPING
    session.mark("jump-requested")
    store.open(session)
    boot = dataclasses.replace(this_boot(), cmdline=f"x {guard.PARAMETER}={token}")
    monkeypatch.setattr(restore, "this_boot", lambda: boot)
    bootfiles.write(store, session)
    assert session.target
    root = store.root.parents[2]
    (store.folder(session.id) / "boot/jump").write_text(f"the-boot-before {session.target.token}\n")
    for name, text in (("cmdline", boot.cmdline), ("sys/kernel/random/boot_id", boot.boot_id)):
        file = root / "proc" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")


def test_criu_looks_at_the_new_kernel_once_for_all_restores(
    store: Store, kind: Obedient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootfiles, "SYSCTL_FOLDERS", [tmp_path / "etc"])
    session = opened(store, "a", "b")
    units = store.folder(session.id) / "boot/units"
    bootfiles.write(store, session)
    assert not (units / f"{paths.RESTORE_UNIT}.d").exists()
    session.workloads[0].needs.append(criu.KERNEL)
    session.workloads[0].saved = {"launch": "digest"}
    bootfiles.write(store, session)
    [dropin] = (units / f"{paths.RESTORE_UNIT}.d").iterdir()
    assert dropin.read_text() == f"[Unit]\nWants={paths.CRIU_UNIT}\n"
    assert not (units / f"{paths.CRIU_UNIT}.d").exists()


def test_criu_looks_once_the_boot_has_set_what_it_looks_at(
    store: Store, kind: Obedient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootfiles, "SYSCTL_FOLDERS", [tmp_path / "etc"])
    (tmp_path / "etc/sysctl.d").mkdir(parents=True)
    (tmp_path / "etc/sysctl.d/dangling.conf").symlink_to("nowhere")
    (tmp_path / "etc/sysctl.d/database.conf").write_text("fs.nr_open = 4000000\n")
    session = opened(store, "a")
    session.workloads[0].needs.append(criu.KERNEL)
    session.workloads[0].saved = {"launch": "digest"}
    bootfiles.write(store, session)
    [dropin] = (store.folder(session.id) / "boot/units" / f"{paths.CRIU_UNIT}.d").iterdir()
    assert dropin.read_text() == "[Unit]\nAfter=systemd-sysctl.service\n"


def test_who_was_frozen_first_has_most_of_the_processors(store: Store, kind: Obedient) -> None:
    session = opened(store, "a", "b", "c", "not frozen")
    for number, name in enumerate(("b", "a", "c")):
        session.marks.append(Mark("frozen", 0, number, "this boot", f"t:{name}"))
    bootfiles.write(store, session)
    weights = {workload.name: workload.restore_weight for workload in session.workloads}
    assert weights == {"b": 2000, "a": 632, "c": 200, "not frozen": 100}
    session.workloads[2].max_blackout_us = 1
    session.workloads[2].saved = {}
    bootfiles.write(store, session)
    weights = {workload.name: workload.restore_weight for workload in session.workloads}
    assert weights == {"c": 2000, "b": 632, "a": 200, "not frozen": 100}
    single = opened(store, "a")
    single.mark("frozen", "t:a")
    bootfiles.write(store, single)
    assert [workload.restore_weight for workload in single.workloads] == [2000]


def test_the_disk_reads_ahead_what_is_back_first_and_no_more_than_memory_has_room_for(
    store: Store, kind: Obedient, monkeypatch: pytest.MonkeyPatch
) -> None:
    announced: list[str] = []
    monkeypatch.setattr(
        os, "posix_fadvise", lambda fd, *_: announced.append(os.readlink(f"/proc/self/fd/{fd}"))
    )
    monkeypatch.setattr(os, "sysconf", lambda name: 10 << 20 if "PAGES" in name else 1)
    session = opened(store, "late", "first")
    files = {}
    for workload, weight in zip(session.workloads, (100, 2000), strict=True):
        workload.saved, workload.restore_weight = {}, weight
        folder = store.artifacts(session, workload.id) / "images"
        folder.mkdir(parents=True)
        for name, mib in (("pages", 2), ("more", 2), ("link", 0), ("small", 0)):
            files[workload.name, name] = str(folder / name)
            if name == "link":
                (folder / name).symlink_to("pages")
            else:
                (folder / name).write_bytes(bytes(mib << 20))
    restore._read_ahead(store, session)
    first = {files["first", "pages"], files["first", "more"]}
    assert set(announced[:2]) == first
    assert len(announced) == 2, "five MiB have no room for a third of two"


def test_a_save_leaves_all_saved_and_the_session_durable(store: Store, kind: Obedient) -> None:
    session = opened(store, "a", "b")
    save.run(store)
    done = store.load(session.id)
    assert done.state is State.SAVED
    assert {mark.workload for mark in done.marks if mark.name == "frozen"} == {"t:a", "t:b"}
    ask_for_the_jump(store, session)
    save.commit(store)
    assert kind.calls[-2:] == ["commit b", "commit a"]
    assert kind.ahead == ["a", "b"]
    assert store.load(session.id).state is State.JUMPING


def test_nothing_is_written_ahead_where_there_is_no_room_for_it_twice(
    store: Store, kind: Obedient
) -> None:
    session = opened(store, "a", "b")
    session.workload("t:a").bytes = 1 << 60
    with pytest.raises(NoSpace):
        store.store(session)
        save.run(store)
    assert kind.ahead == []
    kind.calls.clear()
    session = opened(store, "a", "b")
    room = os.statvfs(paths.STATE)
    session.workload("t:a").bytes = int(room.f_bavail * room.f_frsize * 0.6)
    store.store(session)
    save.run(store)
    assert kind.ahead == ["b"]


def test_a_save_that_overruns_the_budget_is_undone(store: Store, kind: Obedient) -> None:
    session = opened(store, "a", "b")
    session.max_blackout_us = 2_000_000
    session.predicted_jump_us = 1_000_000
    session.marks.append(
        dataclasses.replace(
            mark_now("frozen", "t:a"), boottime_us=mark_now("").boottime_us - 1_500_000
        )
    )
    store.store(session)
    with pytest.raises(BudgetExceeded, match="t:a would stand still for"):
        save.run(store)
    done = store.load(session.id)
    assert done.state is State.ABANDONED
    assert "longer than 2.0 s" in done.reason
    assert not [call for call in kind.calls if call.startswith("save")]
    assert {"resume a", "resume b"} <= set(kind.calls)


@pytest.mark.parametrize("limit_us", [2_000_000, 3_000_000])
def test_a_save_that_overruns_the_limit_of_one_is_undone(
    store: Store, kind: Obedient, limit_us: int
) -> None:
    session = opened(store, "a", "b")
    session.workload("t:a").max_blackout_us = limit_us
    session.predicted_jump_us = 2_500_000
    store.store(session)
    if limit_us > session.predicted_jump_us:
        save.run(store)
        return
    with pytest.raises(BudgetExceeded, match="t:a would stand still for"):
        save.run(store)
    assert {"resume a", "resume b"} <= set(kind.calls)


def test_what_has_a_limit_is_frozen_when_all_others_are_saved(store: Store, kind: Obedient) -> None:
    session = opened(store, "a", "b", "c", "d")
    session.workload("t:b").max_blackout_us = 60_000_000
    session.workload("t:b").needs = ["path:d"]
    session.workload("t:d").provides = ["path:d"]
    session.workload("t:b").cost_us = 9_000_000  # by itself it would be the first
    store.store(session)
    save.run(store)
    saved = [call for call in kind.calls if call.startswith("save")]
    assert set(saved[:2]) == {"save a", "save c"}
    assert saved[2:] == ["save b", "save d"]


def test_a_quick_stop_is_prepared_by_the_save_and_undone_with_it(
    store: Store, kind: Obedient, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = {
        "a": {"SubState": "running", "ExecStop": "x", "KillSignal": "15"},
        r"b\x2d.service": {"SubState": "running", "ExecStop": "x", "KillSignal": "15"},
        "c.service": {"SubState": "running", "KillSignal": "2"},
        "d.service": {"SubState": "running", "KillSignal": "15"},
        "e.service": {"SubState": "exited", "ExecStop": "x", "KillSignal": "15"},
        "f.service": {"SubState": "running", "KillSignal": "15", "TimeoutStopUSec": "15min"},
        "g.service": {"SubState": "running", "KillSignal": "15", "TimeoutStopUSec": "infinity"},
        "h.service": {"SubState": "running", "KillSignal": "15", "TimeoutStopUSec": "1min 30s"},
        "i.service": {"SubState": "exited", "ExecStop": "x", "TimeoutStopUSec": "infinity"},
    }
    monkeypatch.setattr(systemd, "show", lambda units, properties: running)
    session = opened(store, "a")
    session.stop = quickstop.QUICK
    store.store(session)
    save.run(store)
    written = [systemd.RUN / path for path in quickstop.FILES]
    assert all(file.is_file() for file in written)
    text = written[1].read_text()
    assert "timeout 90 systemctl stop -- f.service g.service i.service\n" in text
    assert r"timeout 10 systemctl stop -- b\\x2d.service c.service" in text
    save.resume(store, "called off")
    assert not any(file.exists() for file in written)


def test_what_is_needed_is_frozen_last_and_back_first(
    store: Store, kind: Obedient, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(store, "client", "server", "other")
    session.workload("t:client").needs = ["unit:server"]
    session.workload("t:server").provides = ["unit:server"]
    store.store(session)
    save.run(store)
    assert kind.calls.index("save client") < kind.calls.index("save server")
    jump(store, store.load(session.id), monkeypatch, TOKEN)
    monkeypatch.setattr(restore, "Store", lambda: store)
    assert restore.main() == 0
    assert kind.calls.index("restore server") < kind.calls.index("restore client")


def test_what_takes_long_is_begun_first_and_what_is_quick_is_frozen_last(
    store: Store, kind: Obedient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    session = opened(store, "quick", "slow", "middle", "client")
    for name, seconds in (("quick", 1), ("slow", 9), ("middle", 4)):
        session.workload(f"t:{name}").cost_us = seconds * 1_000_000
    session.workload("t:client").needs = ["unit:slow"]
    session.workload("t:slow").provides = ["unit:slow"]
    store.store(session)
    save.run(store)
    assert kind.calls == ["save client", "save middle", "save quick", "save slow"]


def test_one_failed_save_resumes_all_and_names_the_workload(store: Store, kind: Obedient) -> None:
    session = opened(store, "a", "refuses", "c")
    with pytest.raises(SaveFailed, match="refuses"):
        save.run(store)
    assert {"resume a", "resume refuses", "resume c"} <= set(kind.calls)
    done = store.load(session.id)
    assert done.state is State.ABANDONED and "it has a reason" in done.reason
    assert store.current() is None


def test_a_failed_commit_resumes_all(store: Store, kind: Obedient) -> None:
    session = opened(store, "a", "undying")
    save.run(store)
    ask_for_the_jump(store, session)
    with pytest.raises(SaveFailed, match="does not die"):
        save.commit(store)
    assert set(kind.calls[-2:]) == {"resume a", "resume undying"}
    assert store.load(session.id).state is State.ABANDONED


def test_a_commit_begins_before_the_save_is_over(store: Store, kind: Obedient) -> None:
    session = opened(store, "a")
    with ThreadPoolExecutor(1) as pool:
        committed = pool.submit(save.commit, store)
        save.run(store)
        assert "commit a" not in kind.calls
        ask_for_the_jump(store, session)
        committed.result()
    assert kind.calls[-1] == "commit a"


def test_a_commit_whose_save_is_undone_does_nothing(store: Store, kind: Obedient) -> None:
    opened(store, "refuses")
    with ThreadPoolExecutor(1) as pool:
        committed = pool.submit(save.commit, store)
        with pytest.raises(SaveFailed):
            save.run(store)
        # What it says depends on who was first.
        with pytest.raises((Cancelled, BadSession), match=r"called off|is abandoned"):
            committed.result()


def test_nothing_is_saved_without_room(
    store: Store, kind: Obedient, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(store, "a")
    session.workloads[0].bytes = 1 << 60
    store.store(session)
    with pytest.raises(Exception, match="MiB are free"):
        save.run(store)
    assert "save a" not in kind.calls


@pytest.mark.parametrize(
    ("result", "resumed"), [("success", False), ("signal", True), ("timeout", True)]
)
def test_a_killed_save_worker_leaves_nothing_frozen(
    store: Store, kind: Obedient, result: str, resumed: bool
) -> None:
    opened(store, "a", state=State.SAVING)
    save.resume_after_failure(store, result)
    assert ("resume a" in kind.calls) is resumed


def test_a_session_that_was_saved_is_not_saved_again(store: Store, kind: Obedient) -> None:
    opened(store, "a", state=State.SAVED)
    with pytest.raises(BadSession):
        save.run(store)
    assert kind.calls == []


def test_the_generator_writes_only_after_our_jump(
    store: Store, kind: Obedient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    generate(tmp_path, out)  # no session
    session = opened(store, "a", state=State.JUMPING)
    generate(tmp_path, out)  # which has saved nothing
    jump(store, session, monkeypatch, "another-token")
    generate(tmp_path, out)
    jump(store, session, monkeypatch, TOKEN)
    bootfiles.write(store, session)
    generate(tmp_path, out)  # still the boot of the save
    assert not list(out.iterdir())
    jump(store, session, monkeypatch, TOKEN)
    generate(tmp_path, out)
    assert (out / "a.service.d/restore.conf").read_text() == kind.boot_file
    assert (out / "systemd-udevd.service.d").is_dir()


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize(("number", "weight"), [(1, 1000), (10, 2044), (50, 9852), (99, 10000)])
def test_udev_has_a_share_of_what_all_restores_have(store: Store, number: int, weight: int) -> None:
    session = opened(store, *map(str, range(number)))
    for workload in session.workloads:
        workload.saved = {}
        session.mark("frozen", workload.id)
    bootfiles.write(store, session)
    units = store.folder(session.id) / "boot/units"
    dropin = units / f"{bootfiles.UDEV}.d" / unitrestore.DROPIN
    assert dropin.read_text() == f"[Service]\nStartupCPUWeight={weight}\n"


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize(
    ("adapters", "waits"),
    [(["virtio_net"], True), (["mlx5_core", "virtio_net"], False), ([], False)],
)
def test_coldplug_waits_for_adapters_that_are_there_at_once(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    adapters: list[str],
    waits: bool,
) -> None:
    monkeypatch.setattr(pci, "network_modules", lambda: adapters)
    jump(store, opened(store, "a"), monkeypatch, TOKEN)
    out = tmp_path / "out"
    generate(tmp_path, out)
    dropin = out / "systemd-udev-trigger.service.d" / unitrestore.DROPIN
    assert dropin.exists() == waits
    assert not waits or "After=systemd-modules-load.service\n" in dropin.read_text()


def test_the_generator_leaves_out_what_has_served(
    store: Store, kind: Obedient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, served = tmp_path / "out", tmp_path / "run/liveupdated/a/running"
    kind.boot_file = f"# A word.\n{unitrestore.until(tmp_path / 'other', served)}[Service]\n"
    jump(store, opened(store, "a"), monkeypatch, TOKEN)
    generate(tmp_path, out)
    assert (out / "a.service.d/restore.conf").exists()
    served.parent.mkdir(parents=True)
    served.touch()
    generate(tmp_path, out)
    assert not (out / "a.service.d/restore.conf").exists()


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize(("loader", "given_out"), [("209", True), ("114", False), (None, False)])
def test_a_kernel_loaded_by_hand_is_told_by_its_loader(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    loader: str | None,
    given_out: bool,
) -> None:
    session = opened(store, "a")
    assert session.target
    session.target.token = ""
    jump(store, session, monkeypatch, TOKEN)
    if loader is not None:
        (tmp_path / "proc/sys/kernel/bootloader_type").write_text(f"{loader}\n")
    generate(tmp_path, tmp_path / "out")
    assert (tmp_path / "out/a.service.d").exists() == given_out


def test_after_our_jump_all_come_back_and_one_crash_takes_no_other_along(
    store: Store, kind: Obedient, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(store, "a", "crashes", "c", "lost")
    session.workload("t:lost").verdict = Verdict.LOST
    session.workload("t:lost").reason = "its pipe is gone"
    store.store(session)
    jump(store, session, monkeypatch, TOKEN)
    monkeypatch.setattr(restore, "Store", lambda: store)
    assert restore.main() == 0
    done = store.load(session.id)
    assert done.state is State.RESTORED and done.arrival is not None
    assert done.workloads.pop().outcome_reason == "its pipe is gone"
    assert not [call for call in kind.calls if "lost" in call], "its kind has nothing to do"
    assert [w.outcome for w in done.workloads] == [
        Outcome.CARRIED,
        Outcome.FAILED,
        Outcome.CARRIED,
    ]
    assert done.workloads[1].outcome_reason == "a bug"
    assert paths.CLAIMED.read_text() == session.id


def test_a_region_that_cannot_be_mounted_is_told(
    store: Store, kind: Obedient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*units: str, wait: bool = True) -> None:
        raise ServiceError(f"{units[0]} failed", "no such device")

    monkeypatch.setattr(systemd, "start", refuse)
    monkeypatch.setattr(restore, "Store", lambda: store)
    session = opened(store, "a")
    session.carrier = "pmem"
    jump(store, session, monkeypatch, TOKEN)
    assert restore.main() == 0
    assert store.load(session.id).notes == [f"{paths.PMEM_UNIT} failed: no such device"]


def test_a_session_is_claimed_once(
    store: Store, kind: Obedient, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(store, "a")
    jump(store, session, monkeypatch, TOKEN)
    monkeypatch.setattr(restore, "Store", lambda: store)
    assert restore.main() == 0
    kind.calls.clear()
    assert restore.main() == 1
    assert kind.calls == []


def test_a_boot_that_is_not_our_jump_loses_memory_and_says_so(
    store: Store, kind: Obedient, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(store, "a")
    jump(store, session, monkeypatch, "nonsense")
    monkeypatch.setattr(restore, "Store", lambda: store)
    assert restore.main() == 0
    done = store.load(session.id)
    assert "booted afresh" in done.reason
    assert (done.workloads[0].outcome, done.workloads[0].outcome_reason) == (
        Outcome.RESTARTED,
        "memory is lost",
    )
