# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every fixed place on disk and every fixed name of a unit, once.

`LIVEUPDATED_ROOT` moves all of them below another folder; tests and the image builder use it, units
never set it.
"""

import os
from pathlib import Path

ROOT = Path(os.environ.get("LIVEUPDATED_ROOT", "/"))

STATE = ROOT / "var/lib/liveupdated"
PMEM = STATE / "pmem"
"""Where the file system of a memory region that both kernels leave alone is mounted; see
carriers/pmem.py."""
BLOCKED_KERNELS = STATE / "blocked.json"
LOADER_CMDLINE = STATE / "loader-cmdline.json"
"""The boot loader's words behind the command line of a jump; see kernels/cmdline.py."""
RUNTIME = ROOT / "run/liveupdated"
CONFIG = ROOT / "etc/liveupdated/liveupdated.toml"
CONFIG_DROPINS = ROOT / "etc/liveupdated/conf.d"
CARRIER_WORDS = CONFIG_DROPINS / "80-carrier.toml"
"""The words that set memory aside for the pmem carrier; see carriers/setup.py."""
ADVISED = CONFIG_DROPINS / "90-advise.toml"
"""The words that applied advice adds and removes; see advice/dropin.py."""
RULE_FOLDERS = tuple(ROOT / top / "liveupdated/workloads.d" for top in ("usr/lib", "etc", "run"))

STAGE_REQUEST = RUNTIME / "stage-request.json"
STAGED = RUNTIME / "staged.json"
RESUME_REASON = RUNTIME / "resume-reason"
FOUND = RUNTIME / "workloads.json"
ERRORS = RUNTIME / "errors"
LEAN_INITRDS = RUNTIME / "initrd"
CLAIMED = RUNTIME / "claimed"
"""Holds the id of the session claimed in this boot; without it the launcher restores nothing."""
RESTORING = RUNTIME / "restoring"
"""One folder a carried unit while its restore is under way; see update/restore.py."""
WAITING = RUNTIME / "waiting"
"""One empty file a workload while what it needs is not back; see instructions.py."""
TERMINALS = RUNTIME / "terminals"
"""Locked by the launcher that restores processes with terminals; see update/launch.py."""
BASELINE = RUNTIME / "baseline.json"
"""The host state that this boot has set; see hoststate/baseline.py."""
REOPEN = ROOT / "run/liveupdated-reopen"
"""Desktop applications that wait for their users; see users/reopen.py.  Not in RUNTIME, which is
root's alone."""
PUT_BACK = RUNTIME / "put-back"
"""What of the host state a restore has put back in this boot, a file a category."""

DAEMON_UNIT = "liveupdated.service"
PLAN_UNIT = "liveupdated-plan.service"
STAGE_UNIT = "liveupdated-stage.service"
INITRD_UNIT = "liveupdated-initrd.service"
UNSTAGE_UNIT = "liveupdated-unstage.service"
SAVE_UNIT = "liveupdated-save.service"
COMMIT_UNIT = "liveupdated-commit.service"
REHEARSE_UNIT = "liveupdated-rehearse.service"
RESUME_UNIT = "liveupdated-resume.service"
RESTORE_UNIT = "liveupdated-restore.service"
CRIU_UNIT = "liveupdated-criu.service"
HEALTH_UNIT = "liveupdated-health.service"
BASELINE_UNIT = "liveupdated-baseline.service"
IN_CONTAINER = ROOT / "run/systemd/container"
"""By systemd's container interface."""
PMEM_UNIT = "var-lib-liveupdated-pmem.mount"
PMEM_UNIT_FILE = ROOT / "etc/systemd/system" / PMEM_UNIT
"""Written by `liveupdatectl carrier set-up`."""
UPDATE_TIMER = "liveupdated-update.timer"

LIBEXEC = Path("/usr/libexec/liveupdated")
