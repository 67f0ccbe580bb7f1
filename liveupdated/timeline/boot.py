# SPDX-License-Identifier: LGPL-2.1-or-later
"""What systemd and the kernel log know about how the running boot began.

Runs in the health worker, off the blackout's clock.  Both sources count from the start of the
kernel.  Theirs is CLOCK_MONOTONIC (the log's is close to it: sched_clock), which leaves out time
spent suspended; until the first suspend it equals CLOCK_BOOTTIME, and a boot ends before that.
"""

import ctypes
import re
import subprocess
from collections.abc import Iterable

from liveupdated.session import Mark, mark_now
from liveupdated.timeline import kernellog, marks
from liveupdated.timeline.kernellog import Record

_STAMPS = {
    # org.freedesktop.systemd1(5).  Firmware and loader have stamps too: they lie before the
    # kernel's start and, after a kexec, tell of an earlier boot.
    "InitRDTimestampMonotonic": marks.INITRD_START,
    "UserspaceTimestampMonotonic": marks.USERSPACE_START,
    "GeneratorsStartTimestampMonotonic": marks.GENERATORS_START,
    "GeneratorsFinishTimestampMonotonic": marks.GENERATORS_END,
    "UnitsLoadStartTimestampMonotonic": marks.UNITS_LOAD_START,
    "UnitsLoadFinishTimestampMonotonic": marks.UNITS_LOAD_END,
    "FinishTimestampMonotonic": marks.USERSPACE_FINISH,
}

_DEFERRED = re.compile(r"node \d+ deferred pages initialised in (\d+)ms")
_MESSAGES = (
    ("smp: Bringing up secondary CPUs", marks.SMP_START),
    ("smp: Brought up ", marks.SMP_END),
    ("Trying to unpack rootfs image as initramfs", marks.INITRAMFS_START),
    ("Unpacking initramfs", marks.INITRAMFS_START),  # without CONFIG_BLK_DEV_RAM
    ("Freeing initrd memory", marks.INITRAMFS_END),
    # An initrd without systemd in it (initramfs-tools) has no InitRDTimestamp.  Without an initrd
    # the program is /sbin/init: init/main.c, kernel_init.
    ("Run /init as init process", marks.INITRD_START),
)

_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronized


def boot_marks() -> list[Mark]:
    """The marks of the running boot that nobody of ours took, in order.

    A source that is closed to us or says nothing gives no marks; the ledger has phases for that.
    """
    now = mark_now("")
    # systemd knows its own initrd better than the log does.
    moments = kernel_log(kernellog.kmsg()) | manager_moments()
    found = [
        marks.at_boottime(name, moment, now)
        for name, moment in sorted(moments.items(), key=lambda item: item[1])
    ]
    if clock_synchronized():
        found.append(marks.at_boottime(marks.CLOCK_SYNCHRONIZED, now.boottime_us, now))
    return found


def systemd_stamps(show_output: str) -> dict[str, int]:
    """Mark name to boottime (µs), from the output of ``systemctl show`` without a unit.

    Left out are moments that did not happen (0), and generator and load times that are younger than
    the end of the boot: a re-executed systemd takes them again.
    """
    pairs = (line.split("=", 1) for line in show_output.splitlines() if "=" in line)
    found = {
        _STAMPS[key]: int(value)
        for key, value in pairs
        if key in _STAMPS and value.isdecimal() and int(value) > 0
    }
    finish = found.get(marks.USERSPACE_FINISH)
    return {name: moment for name, moment in found.items() if finish is None or moment <= finish}


def kernel_log(text: str) -> dict[str, int]:
    """Mark name to boottime (µs), from lines of /dev/kmsg or dmesg."""
    return kernel_moments(kernellog.parse(text))


def kernel_moments(records: Iterable[Record]) -> dict[str, int]:
    """Mark name to boottime (µs)."""
    found: dict[str, int] = {}
    for record in records:
        moment = record.moment_us
        name = next((name for start, name in _MESSAGES if record.text.startswith(start)), None)
        if name is not None:
            found.setdefault(name, moment)
        if deferred := _DEFERRED.match(record.text):
            # One line a node, each when it is done; the nodes are worked on side by side.
            began = max(0, moment - int(deferred[1]) * 1000)
            found[marks.DEFERRED_START] = min(found.get(marks.DEFERRED_START, began), began)
            found[marks.DEFERRED_END] = max(found.get(marks.DEFERRED_END, moment), moment)
    return found


def clock_synchronized() -> bool:
    """Whether a time server disciplines CLOCK_REALTIME, as adjtimex(2) has it."""
    libc = ctypes.CDLL(None, use_errno=True)
    # struct timex begins with `modes`; 0 only reads.  It has 208 bytes at most.
    state: int = libc.adjtimex(ctypes.create_string_buffer(512))
    return 0 <= state < _TIME_ERROR


def manager_moments() -> dict[str, int]:
    """Mark name to boottime (µs), as systemd has it; nothing where it does not answer."""
    try:
        done = subprocess.run(
            ["systemctl", "show", "--property=" + ",".join(_STAMPS)],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    return systemd_stamps(done.stdout)
