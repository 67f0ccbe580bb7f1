# SPDX-License-Identifier: LGPL-2.1-or-later
"""The names of all marks, once, and how a mark is made for a moment that is already past.

The restore worker imports this on the blackout's clock: names and arithmetic, nothing else.
"""

from liveupdated.session import Mark

# --- taken as they happen, in this order ---

PLAN_START = "plan-start"
PLAN_END = "plan-end"
SAVE_START = "save-start"
SAVE_END = "save-end"
JUMP_REQUESTED = "jump-requested"
"""The daemon asked logind to kexec; on an operator's road, logind's signal arrived."""
COMMIT_END = "commit-end"
RESTORE_START = "restore-start"
CLAIMED = "claimed"
RESTORE_END = "restore-end"
HEALTH_END = "health-end"

# of a workload
FROZEN = "frozen"
SAVED = "saved"
RESUMING = "resuming"
"""A rehearsal begins to bring it back."""
RUNNING = "running"
# and of one that has its own pause and its own way back, a virtual machine
PAUSED = "paused"
RETURNING = "returning"
"""Its restore begins."""
RETURNED = "returned"
"""All its state is there again; it does not run yet."""

CLOCK_SYNCHRONIZED = "clock-synchronized"
"""CLOCK_REALTIME of this boot was disciplined by a time server when this was taken; optional."""

# --- worked out afterwards, by `at_realtime` and `at_boottime` ---

STOPPED = "stopped"
"""The last thing the old userspace did; a mark of the old boot."""
KERNEL_START = "kernel-start"
"""CLOCK_BOOTTIME 0 of the new boot."""
INITRD_START = "initrd-start"
USERSPACE_START = "userspace-start"
USERSPACE_FINISH = "userspace-finish"
SMP_START = "smp-start"
SMP_END = "smp-end"
DEFERRED_START = "deferred-start"
DEFERRED_END = "deferred-end"
INITRAMFS_START = "initramfs-start"
INITRAMFS_END = "initramfs-end"
GENERATORS_START = "generators-start"
GENERATORS_END = "generators-end"
UNITS_LOAD_START = "units-load-start"
UNITS_LOAD_END = "units-load-end"

OF_A_BOOT = frozenset(
    {
        KERNEL_START,
        INITRD_START,
        USERSPACE_START,
        USERSPACE_FINISH,
        SMP_START,
        SMP_END,
        DEFERRED_START,
        DEFERRED_END,
        INITRAMFS_START,
        INITRAMFS_END,
        GENERATORS_START,
        GENERATORS_END,
        UNITS_LOAD_START,
        UNITS_LOAD_END,
    }
)
"""How a boot began."""

DERIVED = OF_A_BOOT | {STOPPED}
"""Marks that read only one clock; the other is computed, so they say nothing about clock steps."""


def at_boottime(name: str, boottime_us: int, like: Mark, workload: str = "") -> Mark:
    """A mark at `boottime_us` of the boot that `like` was taken in, by the clocks of `like`."""
    return Mark(
        name=name,
        realtime_us=boottime_us + like.realtime_us - like.boottime_us,
        boottime_us=boottime_us,
        boot_id=like.boot_id,
        workload=workload,
    )


def at_realtime(name: str, realtime_us: int, like: Mark, workload: str = "") -> Mark:
    """A mark at `realtime_us` (a file's mtime, say) of the boot that `like` was taken in."""
    boottime_us = realtime_us - (like.realtime_us - like.boottime_us)
    return at_boottime(name, boottime_us, like, workload)
