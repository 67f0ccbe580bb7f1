# SPDX-License-Identifier: LGPL-2.1-or-later
"""Timers in an image that CRIU 4.2.1 has written: a process with four timerfds, one of them
periodic and expired while it was stopped, one disarmed, one running, one that fires once."""

from pathlib import Path

import pytest

from liveupdated import timerfd
from liveupdated.errors import SaveFailed

IMAGE = Path(__file__).parent / "timerfd-files.img"


def test_the_stopped_timer_and_no_other_is_set_going(tmp_path: Path) -> None:
    before = IMAGE.read_bytes()
    copy = tmp_path / "files.img"
    copy.write_bytes(before)
    timerfd.mend(copy)
    after = copy.read_bytes()
    [offset] = [n for n, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    # Of the timer with the id 11: vnsec is 1 now, isec 0, insec 500,000,000.
    assert after[offset - 1 : offset + 9].hex(" ") == "40 01 48 00 50 80 ca b5 ee 01"
    timerfd.mend(copy)
    assert copy.read_bytes() == after


@pytest.mark.parametrize("size", [20, 870])
def test_a_torn_image_is_refused(tmp_path: Path, size: int) -> None:
    torn = tmp_path / "files.img"
    torn.write_bytes(IMAGE.read_bytes()[:size])
    with pytest.raises(SaveFailed, match="timers cannot be read"):
        timerfd.mend(torn)
