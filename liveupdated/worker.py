# SPDX-License-Identifier: LGPL-2.1-or-later
"""The one-shot workers: `python3 -I -m liveupdated.worker STEP`, each started as a systemd unit.

A worker says how far it is by sd_notify(3) STATUS=, and why it failed in a file that the daemon
reads (`liveupdated.update.failure`).
"""

import os
import signal
import sys
from types import FrameType

from liveupdated import kernels, paths
from liveupdated.config import load_config
from liveupdated.errors import Cancelled, InvalidArgument, LiveUpdateError
from liveupdated.session import Store
from liveupdated.update import failure


def main() -> int:
    """Run the step named on the command line."""
    step = sys.argv[1] if len(sys.argv) == 2 else ""
    signal.signal(signal.SIGTERM, _cancel)
    try:
        if step not in STEPS:
            raise InvalidArgument(f"{step!r} is no step", "", f"one of {', '.join(STEPS)}")
        failure.forget(step)
        STEPS[step]()
    except LiveUpdateError as error:
        print(f"liveupdated: {error}", file=sys.stderr)
        if step in STEPS:
            failure.record(step, error)
        return 1
    return 0


def _cancel(signum: int, frame: FrameType | None) -> None:
    raise Cancelled("the step was cancelled")


# Each imports its step only when it is taken: what a worker does not import, it need not load.


def _plan() -> None:
    from liveupdated.update.plan import find_workloads

    find_workloads()


def _stage() -> None:
    from liveupdated.update import stage

    stage.run(stage.read_request(), kernels.configured(load_config().kernels))


def _initrd() -> None:
    from liveupdated.update import stage

    stage.make_initrd(stage.read_request(), kernels.configured(load_config().kernels))


def _unstage() -> None:
    from liveupdated.update import stage

    stage.unstage()


def _save() -> None:
    from liveupdated.update import save

    save.run(Store())


def _commit() -> None:
    from liveupdated.update import save

    save.commit(Store())


def _resume() -> None:
    from liveupdated.update import save

    save.resume(Store(), paths.RESUME_REASON.read_text())


def _resume_after_failure() -> None:
    from liveupdated.update import save

    save.resume_after_failure(Store(), os.environ.get("SERVICE_RESULT", ""))


def _rehearse() -> None:
    from liveupdated.update import save

    save.rehearse(Store())


def _health() -> None:
    from liveupdated.update import health

    health.run(Store(), load_config())


def _baseline() -> None:
    from liveupdated.hoststate import baseline

    baseline.take()


STEPS = {
    "baseline": _baseline,
    "plan": _plan,
    "stage": _stage,
    "initrd": _initrd,
    "unstage": _unstage,
    "save": _save,
    "commit": _commit,
    "resume": _resume,
    "resume-after-failure": _resume_after_failure,
    "rehearse": _rehearse,
    "health": _health,
}

if __name__ == "__main__":
    sys.exit(main())
