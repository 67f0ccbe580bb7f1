# SPDX-License-Identifier: LGPL-2.1-or-later
"""What becomes of a saved domain, by what libvirt says; libvirt itself is a stand-in here."""

from pathlib import Path

import pytest

from liveupdated import libvirt, paths, systemd, unitrestore
from liveupdated.errors import ServiceError
from liveupdated.libvirt import gate, start
from liveupdated.qemu import files
from liveupdated.session import Outcome, Verdict, Workload
from liveupdated.workloads import domains

UUID = "434ea96a-b109-4175-8001-c044e55fb8d4"


class Libvirt:
    """One domain, its state, and what is refused."""

    def __init__(self) -> None:
        self.state = "shut off ()"
        self.refused = ""
        self.calls: list[str] = []
        self.meanwhile = ""
        """The state that another start of it brings about."""
        self.refusals = 99

    def virsh(self, *words: str, limit_s: float = 0) -> str:
        self.calls.append(" ".join(words))
        if words[0] == "list":
            return UUID
        if words[0] == "domstate":
            return self.state
        if words == ("start", UUID, "--paused") and self.refused and self.refusals:
            self.refusals -= 1
            self.state = self.meanwhile or self.state
            raise ServiceError("virsh start failed", self.refused)
        if words[0] == "start":
            self.state = "paused (migrating)" if "--paused" in words else "running (booted)"
        if words[0] == "resume":
            self.state = "running (unpaused)"
        return ""


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Libvirt:
    found = Libvirt()
    monkeypatch.setattr(libvirt, "virsh", found.virsh)
    monkeypatch.setattr(systemd, "start", lambda unit: None)
    monkeypatch.setattr(paths, "RESTORING", tmp_path / "restoring")
    monkeypatch.setattr(start, "PAUSE_S", 0.0)
    return found


@pytest.fixture
def domain(tmp_path: Path) -> Workload:
    image, disk = tmp_path / "web.save", tmp_path / "web.img"
    image.write_bytes(b"state")
    disk.write_bytes(b"disk")
    facts = {
        "uuid": UUID,
        "running": True,
        "persistent": True,
        "autostart": True,
        "agent": False,
        "networks": [],
        "pools": [],
        "daemon": "libvirtd.socket",
    }
    found = Workload("domains:web", "domains", "web", Verdict.CARRIED, "", facts=facts)
    found.saved = {
        "folder": str(tmp_path),
        "image": str(image),
        "fingerprint": files.fingerprint(image),
        "disks": {str(disk): files.identity(str(disk))},
    }
    return found


def test_the_daemon_waits_until_the_state_was_looked_at(
    there: Libvirt, domain: Workload, tmp_path: Path
) -> None:
    ((path, text),) = domains.boot_files(domain, tmp_path).items()
    assert path.startswith("libvirtd.service.d/")
    domains.prepare(domain, tmp_path)
    folder = paths.RESTORING / f"domain-{UUID}"
    assert f"ExecStartPre=-+{paths.LIBEXEC}/restore-domain {folder}\n" in text
    assert unitrestore.until(folder / gate.CHECKED) in text
    domains.restore(domain, tmp_path, lambda name: None)
    assert (folder / gate.CHECKED).exists()
    domain.facts["autostart"] = False
    assert domains.boot_files(domain, tmp_path) == {}


def test_it_runs_on_and_each_moment_is_marked(
    there: Libvirt, domain: Workload, tmp_path: Path
) -> None:
    marks: list[str] = []
    result = domains.restore(domain, tmp_path, marks.append)
    assert (result.outcome, result.reason) == (Outcome.CARRIED, "")
    assert marks == ["returning", "returned", "running"]
    assert there.state == "running (unpaused)"


def test_libvirts_own_autostart_may_be_faster(
    there: Libvirt, domain: Workload, tmp_path: Path
) -> None:
    there.refused, there.meanwhile = "domain is already active", "running (restored)"
    assert domains.restore(domain, tmp_path, lambda name: None).outcome is Outcome.CARRIED
    assert f"resume {UUID}" not in there.calls


def test_a_refusal_is_a_fresh_start_in_libvirts_words(
    there: Libvirt, domain: Workload, tmp_path: Path
) -> None:
    there.refused = "unsupported machine type"
    result = domains.restore(domain, tmp_path, lambda name: None)
    assert result.outcome is Outcome.RESTARTED
    assert "unsupported machine type" in result.reason and "started afresh" in result.reason
    assert f"start {UUID} --force-boot" in there.calls


def test_what_fails_in_a_busy_boot_is_tried_again(
    there: Libvirt, domain: Workload, tmp_path: Path
) -> None:
    there.refused, there.refusals = "Connection timed out", start.STARTS - 1
    assert domains.restore(domain, tmp_path, lambda name: None).outcome is Outcome.CARRIED
    assert f"start {UUID} --force-boot" not in there.calls


@pytest.mark.parametrize("file", ["web.save", "web.img"])
def test_what_was_altered_is_deleted_before_libvirt_starts_from_it(
    there: Libvirt, domain: Workload, tmp_path: Path, file: str
) -> None:
    (tmp_path / file).write_bytes(b"something else")
    result = domains.restore(domain, tmp_path, lambda name: None)
    assert result.outcome is Outcome.RESTARTED and file in result.reason
    assert not (tmp_path / "web.save").exists()
    assert f"start {UUID} --paused" not in there.calls


def test_a_start_without_the_state_is_not_called_carried(
    there: Libvirt, domain: Workload, tmp_path: Path
) -> None:
    there.refused, there.meanwhile = "domain is already active", "running (booted)"
    result = domains.restore(domain, tmp_path, lambda name: None)
    assert result.outcome is Outcome.RESTARTED
    assert "without its saved state" in result.reason


def test_after_another_way_of_booting_the_state_is_still_there(
    there: Libvirt, domain: Workload
) -> None:
    assert domains.restart(domain).outcome is Outcome.CARRIED
    there.state = "running (restored)"
    assert domains.restart(domain).outcome is Outcome.CARRIED
    there.state = "running (booted)"
    assert domains.restart(domain).outcome is Outcome.RESTARTED
