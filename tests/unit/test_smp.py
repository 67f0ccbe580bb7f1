# SPDX-License-Identifier: LGPL-2.1-or-later
"""The comparison of kernel boots, as far as it goes without a machine: its reading, its report."""

import pytest

from bench import boots, smp_report
from bench.smp_report import Results, Row
from liveupdated.kernels.features import BuildConfig
from tests.lab.errors import LabError

BUILD = BuildConfig(b"CONFIG_HOTPLUG_PARALLEL=y\nCONFIG_DEFERRED_STRUCT_PAGE_INIT=y\n")
LOG = """\
<6>[    0.000000] Command line: console=ttyS0 rdinit=/bench/tell-log quiet cpuhp.parallel=1
<6>[    0.607077] smp: Bringing up secondary CPUs ...
<7>[    0.607252] smpboot: Parallel CPU startup enabled: 0x80000000
<6>[    0.991641] smp: Brought up 1 node, 16 CPUs
<6>[    1.100000] node 0 deferred pages initialised in 56ms
<6>[    2.316204] Trying to unpack rootfs image as initramfs...
<6>[    2.403114] Freeing initrd memory: 1980K
<6>[    3.403318] Run /bench/tell-log as init process
"""


def test_what_a_log_says() -> None:
    seen = boots.read(LOG, "7.3.4", BUILD)
    assert seen.phases == pytest.approx(
        {
            "processors": 0.384564,
            "deferred pages": 0.056,
            "initramfs": 0.08691,
            "kernel": 3.403318,
        }
    )
    assert seen.facts[0] == "16 processors, in parallel, as the log says"


def test_a_log_without_an_end_is_no_measurement() -> None:
    with pytest.raises(LabError, match="no program was run"):
        boots.read(LOG.partition("<6>[    3.4")[0], "7.3.4", BUILD)


def row(variant: str, number: int, seconds: float) -> Row:
    return Row("processors", 16, variant, number, "processors", seconds, [variant])


def test_the_report_has_medians_and_ratios_to_the_first() -> None:
    rows = [row("one after the other", n, 0.2 * (n + 1)) for n in range(3)]
    rows += [row("in parallel", n, 0.1) for n in range(3)]
    said = smp_report.text(Results("a machine", rows, ["memory, 1: it broke"]))
    assert "Rounds: 3. a machine." in said
    assert "| 16 | one after the other | 0.40 (0.20 .. 0.60) |  |" in said
    assert "| 16 | in parallel | 0.10 (0.10 .. 0.10) | 0.25 |" in said
    assert "- memory, 1: it broke" in said
    assert "## Console" not in said, "what was not measured has no table"
