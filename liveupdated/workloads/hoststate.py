# SPDX-License-Identifier: LGPL-2.1-or-later
"""Host state that a boot forgets and other workloads stand on: sysctls, nftables, links and so on.

One workload a category (`liveupdated.hoststate`) in which something differs from what the boot has
set.  Nothing is frozen: what differs is written down before the jump and put back after it, and as
it is not memory, after a boot that was not our jump just as well.
"""

import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from liveupdated import paths
from liveupdated.errors import LiveUpdateError, RestoreFailed, SaveFailed
from liveupdated.hoststate import CATEGORIES, baseline, contents, putback
from liveupdated.hoststate.category import Category, Snapshot, differing
from liveupdated.session import Json, Outcome, Verdict, Workload, write_durably
from liveupdated.workloads import Marker, Result

if TYPE_CHECKING:
    from liveupdated.host import Host

KIND = "hoststate"
RULE = None
STATE = "state.json"
LOST = "lost-"
"""Before the name of a category: that of its things that cannot be put back."""
NAMED = 5
"""So many things are named in a reason; the others are counted."""


# --- find ---


def find(host: "Host") -> Iterable[Workload]:
    """What differs from what the boot has set."""
    noted = baseline.read()
    if noted is None:
        yield _workload(
            "unknown",
            Verdict.LOST,
            "what this boot has set was not noted, so what was changed by hand since is not known "
            f"and not carried; `systemctl start {paths.BASELINE_UNIT}` notes it as it is now",
        )
        return
    for category in CATEGORIES.values():
        try:
            changed = _changed(category, noted)
        except (LiveUpdateError, OSError, ValueError) as error:
            reason = f"the {category.title} cannot be read, and are not carried: {error}"
            yield _workload(f"{LOST}{category.name}", Verdict.LOST, reason)
            continue
        yield from _judged(category, changed, noted.since)


def _workload(name: str, verdict: Verdict, reason: str) -> Workload:
    return Workload(f"{KIND}:{name}", KIND, name, verdict, reason)


def _changed(category: Category, noted: baseline.Baseline) -> Snapshot:
    if category.name not in noted.snapshots:
        raise LiveUpdateError("what this boot has set was not noted")
    return differing(category, noted.snapshots[category.name], category.snapshot())


def _judged(category: Category, changed: Snapshot, since: str) -> Iterable[Workload]:
    kept = _possible(category, changed)
    when = f"since {since} (what was before is not known)" if since else "since the boot"
    if kept:
        folders = list(filter(None, (category.content(*each) for each in kept.items())))
        reason = f"{category.title} changed {when}, put back after the jump: {shortened(kept)}"
        if folders:
            reason += f"; with the files in {shortened(folders)}"
        workload = _workload(category.name, Verdict.CARRIED, reason)
        workload.bytes = sum(map(contents.size, folders))
        workload.provides = [_word(category.name)]
        for each in kept.items():
            workload.provides += category.provides(*each)
        workload.needs = [_word(name) for name in category.needs]
        yield workload
    hopeless = [
        f"{key}: {category.obstacle(key, changed[key])}" for key in changed.keys() - kept.keys()
    ]
    if hopeless:
        reason = f"{category.title} that cannot be put back: {'; '.join(sorted(hopeless))}"
        yield _workload(f"{LOST}{category.name}", Verdict.LOST, reason)


def _possible(category: Category, changed: Snapshot) -> Snapshot:
    return {key: value for key, value in changed.items() if not category.obstacle(key, value)}


def _word(name: str) -> str:
    """In `provides` and `needs`: the category as a whole."""
    return f"{KIND}:{name}"


def shortened(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    listed = list(names)
    shown = ", ".join(listed[:NAMED])
    return f"{shown} and {len(listed) - NAMED} more" if len(listed) > NAMED else shown


# --- save: nothing is frozen here ---


def hold_files(workload: Workload) -> dict[str, str]:
    return {}


def save(workload: Workload, artifacts: Path, mark: Marker) -> None:
    """Write down what differs now, which may be more than when the plan was made."""
    try:
        noted = baseline.read()
        if noted is None:
            raise LiveUpdateError("what this boot has set is not known any more")
        category = CATEGORIES[workload.name]
        state = _possible(category, _changed(category, noted))
        new = sorted(state.keys() - noted.snapshots[category.name].keys())
        packed: dict[str, Json] = {}
        for number, (key, value) in enumerate(state.items()):
            if folder := category.content(key, value):
                archive = artifacts / f"{number}.tar"
                packed[folder] = [str(archive), contents.pack(folder, archive)]
        data = json.dumps({"state": state, "new": new}).encode()
        write_durably(artifacts / STATE, data)
    except (LiveUpdateError, OSError, ValueError) as error:
        raise SaveFailed(
            f"the {workload.name} state of the host was not saved", str(error)
        ) from error
    workload.saved = {
        "file": str(artifacts / STATE),
        "sha256": hashlib.sha256(data).hexdigest(),
        "contents": packed,
    }


def commit(workload: Workload) -> None:
    """The host state ends with the kernel."""


def resume(workload: Workload, artifacts: Path) -> None:
    """It was never changed."""


# --- restore ---


def boot_files(workload: Workload, artifacts: Path) -> dict[str, str]:
    return {}


def prepare(workload: Workload, artifacts: Path) -> None:
    """What stands on nothing else is back before the boot goes on; `restore` looks again, once the
    boot's own units had their say."""
    category = CATEGORIES.get(workload.name)
    if not workload.saved or category is None:
        return
    try:
        state = _load(workload)
        early = {key: value for key, value in state.items() if category.early(key, value)}
        left = putback.attempt(category, early) if early else {}
    except Exception as error:  # `restore` finds the same, and has somebody to tell
        left = {category.title: str(error)}
    for key, why in left.items():
        print(f"liveupdated: not yet back: {key}: {why}", file=sys.stderr)


def restore(workload: Workload, artifacts: Path, mark: Marker) -> Result:
    if not workload.saved:
        return Result(Outcome.LOST, workload.reason)
    try:
        left = putback.for_good(CATEGORIES[workload.name], _load(workload))
        for folder, (archive, sha256) in workload.saved["contents"].items():
            if folder not in left:
                contents.unpack(Path(archive), sha256, folder)
    except (LiveUpdateError, OSError, ValueError) as error:
        return Result(Outcome.FAILED, str(error))
    if left:
        named = [f"{key}: {why}" for key, why in left.items()]
        return Result(Outcome.FAILED, f"not as it was: {shortened(named)}")
    return Result(Outcome.CARRIED)


def _load(workload: Workload) -> Snapshot:
    """What was saved, without what was only there because the other kernel had it."""
    saved: dict[str, Json] = workload.saved or {}
    try:
        data = Path(saved["file"]).read_bytes()
    except OSError as error:
        raise RestoreFailed(
            f"the saved {workload.name} state cannot be read", str(error)
        ) from error
    if hashlib.sha256(data).hexdigest() != saved["sha256"]:
        raise RestoreFailed(
            f"the saved {workload.name} state was altered", "its digest does not fit"
        )
    read = json.loads(data)
    category, state = CATEGORIES[workload.name], read["state"]
    return {
        key: value
        for key, value in state.items()
        if not (key in read["new"] and category.unheard_of(key))
    }


def restart(workload: Workload) -> Result:
    """The same: none of it is memory."""
    return restore(workload, paths.STATE, lambda name: None)


def settle() -> None:
    """Nothing was held."""
