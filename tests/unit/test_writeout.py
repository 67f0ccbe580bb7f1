# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is written to disk before the freeze and after the save."""

from pathlib import Path

import pytest

from liveupdated.errors import SaveFailed
from liveupdated.hoststate.mounts import parse
from liveupdated.update import writeout

MOUNTS = r"""
22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/root rw
23 22 259:1 /srv /home/a\040b rw - ext4 /dev/root rw
24 22 0:5 / /dev rw - devtmpfs udev rw
25 22 253:0 / /data rw - xfs /dev/mapper/vg-data rw
26 22 0:40 / /mnt/far rw - nfs4 server:/export rw
27 22 8:17 / /mnt/stick rw - fuseblk /dev/sdb1 rw
28 22 0:41 / /run rw - tmpfs tmpfs rw
"""


def test_each_file_system_on_a_local_disk_is_written_out_once() -> None:
    assert writeout.on_local_disks(parse(MOUNTS.strip())) == ["/home/a b", "/data"]


def test_nothing_is_raised_before_the_freeze() -> None:
    writeout.ahead()


def test_what_cannot_be_written_out_is_told(tmp_path: Path) -> None:
    writeout.durable(tmp_path)
    with pytest.raises(SaveFailed, match=r"could not be written out.*No such file"):
        writeout.durable(tmp_path / "gone")
