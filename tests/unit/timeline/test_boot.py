# SPDX-License-Identifier: LGPL-2.1-or-later
import itertools
from pathlib import Path

import pytest

from liveupdated.session import mark_now
from liveupdated.timeline import boot, kernellog, marks

SHOW = """\
FirmwareTimestampMonotonic=17770382
LoaderTimestampMonotonic=7539019
KernelTimestamp=Thu 2025-07-03 08:57:35 BST
KernelTimestampMonotonic=0
InitRDTimestampMonotonic=773454
UserspaceTimestamp=Thu 2025-07-03 08:57:41 BST
UserspaceTimestampMonotonic=5422672
FinishTimestampMonotonic=18590863
GeneratorsStartTimestampMonotonic=5500000
GeneratorsFinishTimestampMonotonic=6300000
UnitsLoadStartTimestampMonotonic=6300100
UnitsLoadFinishTimestampMonotonic=7000000
Environment=LANG=C
"""

DMESG = """\
[    0.000000] Linux version 7.3.4+deb13-cloud-amd64
[    0.104272] smp: Bringing up secondary CPUs ...
[    0.180638] smp: Brought up 1 node, 2 CPUs
[    0.256921] node 0 deferred pages initialised in 36ms
[    0.266921] node 1 deferred pages initialised in 88ms
[    1.277857] Trying to unpack rootfs image as initramfs...
[    1.799278] Freeing initrd memory: 20000K
[    1.900000] Run /init as init process
[   61.000000] smp: Brought up 1 node, 2 CPUs
"""

WANTED = {
    marks.SMP_START: 104_272,
    marks.SMP_END: 180_638,
    marks.DEFERRED_START: 178_921,
    marks.DEFERRED_END: 266_921,
    marks.INITRAMFS_START: 1_277_857,
    marks.INITRAMFS_END: 1_799_278,
    marks.INITRD_START: 1_900_000,
}


def test_systemds_stamps_become_marks() -> None:
    assert boot.systemd_stamps(SHOW) == {
        marks.INITRD_START: 773_454,
        marks.USERSPACE_START: 5_422_672,
        marks.USERSPACE_FINISH: 18_590_863,
        marks.GENERATORS_START: 5_500_000,
        marks.GENERATORS_END: 6_300_000,
        marks.UNITS_LOAD_START: 6_300_100,
        marks.UNITS_LOAD_END: 7_000_000,
    }


def test_what_has_not_happened_has_no_mark() -> None:
    show = "InitRDTimestampMonotonic=0\nUserspaceTimestampMonotonic=2000182\n"
    assert boot.systemd_stamps(show + "FinishTimestampMonotonic=0\n") == {
        marks.USERSPACE_START: 2_000_182
    }


def test_a_reexecuted_systemds_later_stamps_are_left_out() -> None:
    show = SHOW.replace("=5500000", "=905500000").replace("=6300000", "=906300000")
    assert marks.GENERATORS_START not in boot.systemd_stamps(show)
    assert marks.GENERATORS_END not in boot.systemd_stamps(show)


def test_lines_of_dmesg() -> None:
    assert boot.kernel_log(DMESG) == WANTED


def test_lines_of_dmesg_that_name_their_caller() -> None:
    text = DMESG.replace("] ", "] [    T1] ")
    assert boot.kernel_log(text) == WANTED


def test_records_of_dev_kmsg() -> None:
    text = ""
    for number, line in enumerate(DMESG.splitlines()):
        stamp, message = line[1:].split("] ", 1)
        text += f"6,{number},{round(float(stamp) * 1e6)},-;{message}\n SUBSYSTEM=cpu\n"
    assert boot.kernel_log(text) == WANTED


def test_a_boot_without_initrd() -> None:
    assert boot.kernel_log("[    1.7] junk\n[    1.900000] Run /sbin/init as init process\n") == {}


def test_the_running_boot_is_told_in_order_and_by_the_present_clock() -> None:
    """Against this machine's own kernel log and systemd, whatever they are willing to tell."""
    now = mark_now("")
    found = boot.boot_marks()
    assert {mark.boot_id for mark in found} <= {now.boot_id}
    for mark in found:
        assert mark.realtime_us - mark.boottime_us == pytest.approx(
            now.realtime_us - now.boottime_us, abs=60_000_000
        )
    assert all(a.boottime_us <= b.boottime_us for a, b in itertools.pairwise(found))
    assert {mark.name for mark in found} <= marks.DERIVED | {marks.CLOCK_SYNCHRONIZED}


def test_neither_systemd_nor_kernel_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(kernellog, "kmsg", lambda: "")
    assert {mark.name for mark in boot.boot_marks()} <= {marks.CLOCK_SYNCHRONIZED}
