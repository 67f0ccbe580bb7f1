# SPDX-License-Identifier: LGPL-2.1-or-later
"""Host state: what differs from what the boot has set, and how much of that is put back."""

import dataclasses
import json
from pathlib import Path

import pytest

from liveupdated import paths
from liveupdated.errors import LiveUpdateError, RestoreFailed, SaveFailed, ServiceError
from liveupdated.host import Host
from liveupdated.hoststate import CATEGORIES, baseline, contents, mounts, putback, rules, sysctl
from liveupdated.hoststate.category import UNREADABLE, Category, Snapshot, differing, missing
from liveupdated.session import Outcome, Verdict, Workload
from liveupdated.workloads import hoststate


@dataclasses.dataclass
class Things:
    """A category whose things are in a dict; some cannot be set, or need another."""

    now: Snapshot
    refused: tuple[str, ...] = ()
    needs: dict[str, str] = dataclasses.field(default_factory=dict)

    def put(self, key: str, value: str) -> None:
        if key in self.refused or self.needs.get(key, key) not in {*self.now, key}:
            raise LiveUpdateError(f"{key} is refused")
        self.now[key] = value

    def category(self) -> Category:
        return Category("things", "things", lambda: dict(self.now), self.put)


@pytest.fixture
def things(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Things:
    """The only category there is, on a machine of its own."""
    made = Things({"boot": "1", "same": "1"})
    monkeypatch.setattr(paths, "BASELINE", tmp_path / "baseline.json")
    monkeypatch.setattr(paths, "PUT_BACK", tmp_path / "put-back")
    monkeypatch.setattr(putback, "RETRY_LIMIT_S", 0.0)
    category = made.category()
    monkeypatch.setitem(CATEGORIES, "things", category)
    for name in list(CATEGORIES):
        if name != "things":
            monkeypatch.delitem(CATEGORIES, name)
    return made


def note(things: Things) -> None:
    """As the baseline unit does, without asking systemd."""
    data = {"since": "", "snapshots": {"things": things.now}}
    paths.BASELINE.write_text(json.dumps(data))


def boot(things: Things, now: Snapshot) -> None:
    """What is in /run is gone."""
    paths.BASELINE.unlink()
    for file in paths.PUT_BACK.glob("*"):
        file.unlink()
    things.now = now


def found() -> list[Workload]:
    return list(hoststate.find(Host(rules=[])))


def saved(tmp_path: Path) -> Workload:
    (workload,) = found()
    folder = tmp_path / "artifacts"
    folder.mkdir(exist_ok=True)
    hoststate.save(workload, folder, lambda name: None)
    return workload


def test_changed_comes_before_new_and_gone_is_no_difference() -> None:
    category = Things({}).category()
    assert list(
        differing(category, {"b": "1", "c": "1", "x": "1"}, {"a": "1", "b": "2", "c": "1"})
    ) == [
        "b",
        "a",
    ]
    assert missing(category, {"a": "1", "b": "1", "c": "1"}, {"a": "1", "b": "2"}) == {
        "b": "1",
        "c": "1",
    }


def test_what_the_baseline_could_not_read_is_not_compared() -> None:
    category = Things({}).category()
    assert differing(category, {"a": UNREADABLE, "b": "1"}, {"a": "1", "b": UNREADABLE}) == {}


def test_nothing_changed_is_nothing_to_tell(things: Things) -> None:
    note(things)
    assert found() == []


def test_without_a_baseline_it_is_said(things: Things) -> None:
    (workload,) = found()
    assert workload.verdict is Verdict.LOST
    assert paths.BASELINE_UNIT in workload.reason


def test_a_late_baseline_says_since_when(things: Things) -> None:
    paths.BASELINE.write_text(
        json.dumps({"since": "2026-11-25 03:00 UTC", "snapshots": {"things": {}}})
    )
    (workload,) = found()
    assert "since 2026-11-25 03:00 UTC (what was before is not known)" in workload.reason


def test_many_are_counted(things: Things) -> None:
    note(things)
    things.now |= {f"thing{number}": "1" for number in range(8)}
    (workload,) = found()
    assert workload.reason.endswith("thing0, thing1, thing2, thing3, thing4 and 3 more")


def test_what_was_put_back_is_by_hand_at_the_next_hop(things: Things, tmp_path: Path) -> None:
    note(things)
    things.now |= {"boot": "2", "new": "1"}
    for noted_first in (True, False):
        workload = saved(tmp_path)
        assert (workload.verdict, workload.name) == (Verdict.CARRIED, "things")
        boot(things, {"boot": "1", "same": "1"})
        if noted_first:
            note(things)
        hoststate.prepare(workload, tmp_path)
        assert hoststate.restore(workload, tmp_path, lambda name: None).outcome is Outcome.CARRIED
        if not noted_first:
            note(things)
        assert things.now == {"boot": "2", "same": "1", "new": "1"}


def test_what_the_boot_sets_again_after_the_first_try_is_put_back_again(
    things: Things, tmp_path: Path
) -> None:
    note(things)
    things.now["boot"] = "2"
    workload = saved(tmp_path)
    boot(things, {})
    hoststate.prepare(workload, tmp_path)
    things.now["boot"] = "3"
    assert hoststate.restore(workload, tmp_path, lambda name: None).outcome is Outcome.CARRIED
    note(things)
    noted = baseline.read()
    assert noted is not None
    assert (things.now, noted.snapshots["things"]) == ({"boot": "2"}, {"boot": "3"})


def test_what_the_boot_sets_like_that_now_is_the_boots(things: Things, tmp_path: Path) -> None:
    note(things)
    things.now["boot"] = "2"
    workload = saved(tmp_path)
    boot(things, {"boot": "2", "same": "1"})
    assert hoststate.restart(workload).outcome is Outcome.CARRIED
    note(things)
    assert found() == []


def test_what_cannot_be_put_back_is_named_and_the_rest_is_back(
    things: Things, tmp_path: Path
) -> None:
    note(things)
    things.now |= {"bad": "1", "good": "1", "late": "1"}
    workload = saved(tmp_path)
    boot(things, {})
    things.refused, things.needs = ("bad",), {"good": "late"}
    result = hoststate.restore(workload, tmp_path, lambda name: None)
    assert result.outcome is Outcome.FAILED
    assert result.reason == "not as it was: bad: bad is refused"
    assert things.now == {"good": "1", "late": "1"}


def test_only_what_was_changed_is_missed_where_the_kernel_has_it_no_more(
    things: Things, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(things)
    things.now |= {"boot": "2", "new": "1"}
    workload = saved(tmp_path)
    boot(things, {})
    things.refused = ("boot", "new")
    older = dataclasses.replace(CATEGORIES["things"], unheard_of=lambda key: True)
    monkeypatch.setitem(CATEGORIES, "things", older)
    result = hoststate.restore(workload, tmp_path, lambda name: None)
    assert result.reason == "not as it was: boot: boot is refused"


def test_what_changes_back_by_itself_is_named(things: Things, tmp_path: Path) -> None:
    note(things)
    things.now["boot"] = "2"
    workload = saved(tmp_path)
    boot(things, {"boot": "1"})
    stubborn = dataclasses.replace(CATEGORIES["things"], put=lambda key, value: None)
    CATEGORIES["things"] = stubborn
    result = hoststate.restore(workload, tmp_path, lambda name: None)
    assert result.reason == "not as it was: boot: it is 1 again"


def test_an_altered_artifact_is_refused(things: Things, tmp_path: Path) -> None:
    note(things)
    things.now["boot"] = "2"
    workload = saved(tmp_path)
    boot(things, {"boot": "1"})
    artifact = tmp_path / "artifacts" / hoststate.STATE
    artifact.write_text(artifact.read_text().replace("2", "3"))
    hoststate.prepare(workload, tmp_path)
    result = hoststate.restore(workload, tmp_path, lambda name: None)
    assert result.outcome is Outcome.FAILED
    assert "altered" in result.reason
    assert things.now == {"boot": "1"}


def test_a_save_that_cannot_know_what_differs_is_refused(things: Things, tmp_path: Path) -> None:
    note(things)
    things.now["boot"] = "2"
    (workload,) = found()
    paths.BASELINE.unlink()
    with pytest.raises(SaveFailed, match="not known any more"):
        hoststate.save(workload, tmp_path, lambda name: None)
    assert workload.saved is None


def test_what_has_no_way_back_is_lost(things: Things, monkeypatch: pytest.MonkeyPatch) -> None:
    note(things)
    things.now |= {"good": "1", "strange": "1"}
    picky = dataclasses.replace(
        CATEGORIES["things"], obstacle=lambda key, value: "too odd" if key == "strange" else ""
    )
    monkeypatch.setitem(CATEGORIES, "things", picky)
    verdicts = {workload.name: (workload.verdict, workload.reason) for workload in found()}
    assert verdicts["things"][0] is Verdict.CARRIED
    assert verdicts["lost-things"] == (
        Verdict.LOST,
        "things that cannot be put back: strange: too odd",
    )


def test_a_links_own_settings_begin_as_the_default() -> None:
    now = {
        "net.ipv4.conf.default.rp_filter": "0",
        "net.ipv4.conf.eth0/7.rp_filter": "0",
        "net.ipv4.conf.eth0/7.accept_local": "1",
        "net.ipv4.conf.default.accept_local": "0",
        "net.ipv6.conf.eth0/7.mtu": "1400",
    }
    changed = differing(sysctl.CATEGORY, dict.fromkeys(now.keys() & {"x"}, ""), now)
    assert "net.ipv4.conf.eth0/7.accept_local" in changed
    assert not changed.keys() & {"net.ipv4.conf.eth0/7.rp_filter", "net.ipv6.conf.eth0/7.mtu"}


MOUNTINFO = r"""
22 1 259:0 / / rw,relatime shared:1 - ext4 /dev/root rw
30 22 259:0 /usr/share /mnt/bound ro,relatime shared:2 - ext4 /dev/root rw
31 22 0:40 / /mnt/with\040blank rw,relatime shared:3 - tmpfs memory rw,size=10240k,inode64
32 22 0:40 / /mnt/again rw shared:3 - tmpfs memory rw,size=10240k,inode64
33 22 0:41 / /mnt/two rw - tmpfs below rw
34 33 0:42 / /mnt/two rw - tmpfs above rw
"""


def test_mounts_are_told_as_mount_takes_them() -> None:
    parsed = {mount.place: mount for mount in mounts.parse(MOUNTINFO.strip())}
    told = {
        place: mounts.described(mount, list(parsed.values())) for place, mount in parsed.items()
    }
    assert told["/mnt/bound"] == {"type": "bind", "source": "/usr/share", "options": "ro,relatime"}
    assert told["/mnt/with blank"]["options"] == "rw,relatime,size=10240k,inode64"
    assert told["/mnt/again"]["source"] == "/mnt/with blank"
    assert told["/mnt/two"]["source"] == "above"


def test_no_place_is_made_for_a_bind_mount_of_nothing(tmp_path: Path) -> None:
    setting = {"type": "bind", "source": f"{tmp_path}/gone", "options": "rw"}
    with pytest.raises(ServiceError, match=r"gone, which .* is to show, is not there"):
        mounts.put(f"{tmp_path}/place", json.dumps(setting))
    assert not (tmp_path / "place").exists()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("0:\tfrom all lookup local proto kernel", ""),
        (
            "999:\tfrom all fwmark 0x1 lookup 101 proto unspec",
            "pref 999 from all fwmark 0x1 lookup 101",
        ),
        (
            "9:\tfrom all iif x [detached] lookup 7 proto static",
            "pref 9 from all iif x lookup 7 proto static",
        ),
    ],
)
def test_rules_are_told_as_ip_takes_them(line: str, told: str) -> None:
    assert rules.described(line) == told


def test_the_files_of_a_tmpfs_go_along_and_an_altered_archive_is_refused(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "below").mkdir(parents=True)
    (source / "below/file").write_text("precious")
    (source / "below/file").chmod(0o640)
    target.mkdir()
    digest = contents.pack(str(source), tmp_path / "a.tar")
    contents.unpack(tmp_path / "a.tar", digest, str(target))
    assert (target / "below/file").read_text() == "precious"
    assert (target / "below/file").stat().st_mode & 0o777 == 0o640
    with (tmp_path / "a.tar").open("r+b") as archive:
        archive.write(b"x")
    with pytest.raises(RestoreFailed, match="altered"):
        contents.unpack(tmp_path / "a.tar", digest, str(target))
