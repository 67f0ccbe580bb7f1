# SPDX-License-Identifier: LGPL-2.1-or-later
"""What systemd is told about a container: unit files and drop-ins, before the jump and after it.

Standard library only: used on the restore path.
"""

from pathlib import Path

from liveupdated import paths, unitrestore
from liveupdated.session import Json

LAUNCHER = paths.LIBEXEC / "restore-container"

# After what replaces whole rule sets: netavark's rules have to stay.
FIREWALLS = (
    "network-pre.target nftables.service firewalld.service netavark-firewalld-reload.service"
)

# From the checkpoint to the jump the owner must neither start the container afresh nor remove it.
HOLD = """\
# Written by liveupdated while this container is checkpointed.
[Service]
Restart=no
ExecStop=
ExecStopPost=
SuccessExitStatus=SIGKILL
"""


def own(container_id: str) -> str:
    """The unit that brings back a container which no service owns."""
    return f"liveupdated-container-{container_id[:12]}.service"


def start_command(artifacts: Path, digest: str, work: Path) -> str:
    return f"{LAUNCHER} {artifacts} {digest} {work}"


def own_files(facts: dict[str, Json], command: str, weight: int) -> dict[str, str]:
    """That unit, and what has the boot start it."""
    unit = own(facts["id"])
    others = " ".join(sorted({own(other) for other in facts["joins"].values()}))
    text = f"""\
# Written by liveupdated for the boot after a jump.
{unitrestore.until_settled(unit)}[Unit]
Description=Bring Container {facts["id"][:12]} Back after a Live Update
After={paths.RESTORE_UNIT} network.target {FIREWALLS} {others}
Before=podman-restart.service podman-auto-update.service
RequiresMountsFor={facts["bundle"]}
[Service]
StartupCPUWeight={weight}
Type=oneshot
ExecStart={command}
# What podman leaves running here, if it does, is not ours to kill.
KillMode=process
TimeoutStartSec={unitrestore.START_LIMIT_S}
UMask=0022
LimitCORE=0
"""
    wants = f"{unitrestore.until_settled(unit)}[Unit]\nWants={unit}\n"
    return {unit: text, f"multi-user.target.d/{unit}.conf": wants}


def owner_files(owner: str, command: str, work: Path, weight: int) -> dict[str, str]:
    """The drop-in that makes the next start of the service the restore of its container."""
    text = f"""\
# Written by liveupdated: this once the start of the container is the restore of its checkpoint.
{unitrestore.until_settled(owner)}[Unit]
After={paths.RESTORE_UNIT} {FIREWALLS}
[Service]
StartupCPUWeight={weight}
Type=notify
NotifyAccess=all
PIDFile=
ExecCondition=
ExecStartPre=
ExecStart=
ExecStart={command}
ExecStartPost=
ExecStopPost=/usr/bin/touch {work}/failed
{unitrestore.AFRESH}TimeoutStartSec={unitrestore.START_LIMIT_S}
"""
    return {f"{owner}.d/{unitrestore.DROPIN}": text}


def later_files(owner: str, others: list[str]) -> dict[str, str]:
    """The drop-in that has the service start after these units."""
    if not others:
        return {}
    text = f"""\
# Written by liveupdated: these come back with the addresses that they had.
{unitrestore.until_settled(owner)}[Unit]
After={" ".join(others)}
"""
    return {f"{owner}.d/{unitrestore.DROPIN}": text}
