# SPDX-License-Identifier: LGPL-2.1-or-later
"""SPDK targets: started again by their service, and configured as they were by JSON-RPC.

What a target has in memory is its configuration (its data is on the devices) and the I/O in flight,
which its initiators send again.
"""

import hashlib
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from liveupdated import pci, spdk, unitfiles, unitrestore
from liveupdated.carry import declared
from liveupdated.errors import SaveFailed, ServiceError
from liveupdated.procs import places
from liveupdated.session import Outcome, Verdict, Workload, write_durably
from liveupdated.timeline.marks import RUNNING
from liveupdated.workloads import Marker, Result

if TYPE_CHECKING:
    from liveupdated.host import Host

KIND = "spdk"
CONFIG = "config.json"
ANSWER_LIMIT_S = 120.0
"""For a target to set up its memory and devices, and answer."""
POLL_S = 0.2
IN_FLIGHT = "I/O that was in flight is lost to it: its initiators send it again"


@dataclass(frozen=True)
class SpdkRule:
    """What `workloads.d` can say about an SPDK target."""

    spdk: str
    """The path of its JSON-RPC socket, or a pattern with `*` and `?`."""
    carry: Literal["config", "no"]
    source: str = ""


RULE = SpdkRule


# --- find ---


def find(host: "Host") -> Iterable[Workload]:
    """Every target whose socket has `spdk` in its name, or is named by a rule."""
    carried = declared(host)
    mains = places.mains(host.units)
    for target, rule in _targets(host):
        unit = mains.get(target.pid, "")
        if unit not in carried and target.pid not in host.spoken_for_pids:
            host.spoken_for_pids.add(target.pid)
            yield _judged(host, target, unit, rule)


def _targets(host: "Host") -> Iterator[tuple[spdk.Target, SpdkRule | None]]:
    for path in sorted(set(spdk.sockets())):
        rule = host.rule(SpdkRule, path)
        if rule or "spdk" in path.rpartition("/")[2]:
            try:
                yield spdk.target(path), rule
            except ServiceError:  # gone, or in another mount namespace
                continue


def _judged(host: "Host", target: spdk.Target, unit: str, rule: SpdkRule | None) -> Workload:
    workload = Workload(f"{KIND}:{target.socket}", KIND, target.socket, Verdict.BLOCKS, "")
    workload.source = rule.source if rule else ""
    devices = pci.opened_by(target.pid)
    workload.needs = ["hugepages", *(f"device:{address}" for address in devices)]
    workload.facts = {"unit": unit, "save": False}
    if not unit:
        workload.verdict = Verdict.LOST
        workload.reason = (
            f"process {target.pid} is the main process of no service, so nothing starts it again "
            "(way out: run it as a service)"
        )
        return workload
    shown = host.units[unit]
    host.spoken_for.add(unit)
    workload.provides = [f"unit:{unit}"]
    workload.facts |= {
        "start": unitfiles.needs_start(host, unit),
        "files": unitfiles.unit_files(shown),
    }
    if rule and rule.carry == "no":
        workload.verdict = Verdict.RESTARTED
        workload.reason = (
            f"started again by {unit}, with what that configures, as {rule.source} says; "
            f"{IN_FLIGHT}"
        )
        return workload
    why = _obstacle(target)
    if why:
        workload.reason = (
            f"its configuration cannot be saved: {why} (to start it again with what {unit} "
            'configures: a rule with carry = "no")'
        )
        return workload
    workload.facts["save"] = True
    workload.verdict = Verdict.RESTARTED
    workload.reason = (
        f"{target.version}, started again by {unit}, its configuration saved and loaded again "
        f"by JSON-RPC; {IN_FLIGHT}"
    )
    return workload


def _obstacle(target: spdk.Target) -> str:
    if not target.version:
        return "it does not answer on its JSON-RPC socket"
    if not spdk.package_is_there():
        return "the Python package spdk is not installed"
    return ""


# --- save ---


def hold_files(workload: Workload) -> dict[str, str]:
    return {}


def save(workload: Workload, artifacts: Path, mark: Marker) -> None:
    """Write its configuration down; it runs on until the shutdown."""
    if not workload.facts["save"]:
        return
    try:
        data = json.dumps(spdk.read_config(workload.name)).encode()
    except ServiceError as error:
        raise SaveFailed(f"the SPDK target {workload.name} was not saved", str(error)) from error
    write_durably(artifacts / CONFIG, data)
    workload.bytes = len(data)
    workload.saved = {
        "file": str(artifacts / CONFIG),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def commit(workload: Workload) -> None:
    """It ends like all others in the shutdown, and flushes what it has."""


def resume(workload: Workload, artifacts: Path) -> None:
    """It was never stopped."""


# --- restore ---


def boot_files(workload: Workload, artifacts: Path) -> dict[str, str]:
    return {}


def prepare(workload: Workload, artifacts: Path) -> None:
    """Hugepages and bindings are host state; its unit is the boot's or ours to start."""


def restore(workload: Workload, artifacts: Path, mark: Marker) -> Result:
    """Have it started, once what it needs is back, and configured."""
    facts = workload.facts
    reason = IN_FLIGHT if facts["save"] else workload.reason
    outcome, reason = unitrestore.afresh(facts["unit"], facts["start"], facts["files"], reason)
    if outcome is Outcome.RESTARTED and workload.saved:
        outcome, reason = _configured(workload)
    mark(RUNNING)
    return Result(outcome, reason)


def _configured(workload: Workload) -> tuple[Outcome, str]:
    saved = workload.saved or {}
    file = Path(saved["file"])
    try:
        if hashlib.sha256(file.read_bytes()).hexdigest() != saved["sha256"]:
            return Outcome.FAILED, "its saved configuration was altered, and was not loaded"
        if not _answers(workload.name):
            return Outcome.FAILED, "it does not answer on its JSON-RPC socket"
        left = spdk.load_elsewhere(workload.name, file)
    except (ServiceError, OSError) as error:
        return Outcome.FAILED, f"it is not configured as it was: {error}"
    if left:
        return Outcome.FAILED, f"it is not configured as it was: {', '.join(left)} had no effect"
    return Outcome.RESTARTED, f"its configuration was loaded again; {IN_FLIGHT}"


def _answers(path: str) -> bool:
    end = time.monotonic() + ANSWER_LIMIT_S
    while time.monotonic() < end:
        try:
            if spdk.target(path).version:
                return True
        except ServiceError:
            pass
        time.sleep(POLL_S)
    return False


def restart(workload: Workload) -> Result:
    """The same: its configuration is on disk."""
    return restore(workload, Path(), lambda name: None)


def settle() -> None:
    """Nothing was held."""
