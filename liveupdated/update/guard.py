# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guard: are we where the session meant us to be?

Standard library only; used by the restore worker.
"""

from pathlib import Path

from liveupdated.session import Boot, Session, State, machine_id

PARAMETER = "liveupdated.token"
"""On the command line of a kernel that we loaded: random, and the same as in the session."""

# kexec_file_load() names itself as boot loader type 0xD in boot_params
# (arch/x86/kernel/kexec-bzimage64.c); so does kexec-tools.
KEXEC_LOADER = 0xD
LOADER_TYPE = Path("/proc/sys/kernel/bootloader_type")


def same_boot(session: Session, boot: Boot) -> bool:
    """Whether the jump is still to come."""
    return session.origin.boot_id == boot.boot_id


def missed(session: Session, boot: Boot) -> str:
    """Why this boot is not the one that the session jumped to; empty when it is.

    Memory may only come back in the very next boot, by the jump, on the same machine: anything else
    may have seen the disks in another state.
    """
    if session.machine_id != machine_id():
        return "the session is of another machine"
    if session.arrival is not None and session.arrival.boot_id != boot.boot_id:
        return "the machine went down again while the workloads were being restored"
    if session.state in (State.PLANNED, State.SAVING, State.SAVED):
        return f"the machine went down before the jump (the session was {session.state})"
    if session.target is None or not session.target.token:
        return "" if _came_by_kexec() else "the machine was booted afresh instead of by kexec"
    if f"{PARAMETER}={session.target.token}" not in boot.cmdline.split():
        return (
            f"the machine was booted afresh with {boot.release} "
            f"instead of by the jump to {session.target.release}"
        )
    if session.target.release and session.target.release != boot.release:
        return f"{boot.release} came up instead of {session.target.release}"
    return ""


def tells_kexec() -> bool:
    """Whether a boot by kexec shows as one without our parameter."""
    return LOADER_TYPE.exists()


def _came_by_kexec() -> bool:
    try:
        return int(LOADER_TYPE.read_text()) >> 4 == KEXEC_LOADER
    except (OSError, ValueError):  # not x86: there is no such file, and no other sign
        return False
