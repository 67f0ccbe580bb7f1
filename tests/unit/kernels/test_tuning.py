# SPDX-License-Identifier: LGPL-2.1-or-later
import pytest

from liveupdated.kernels import tuning
from liveupdated.kernels.features import BuildConfig

PARALLEL = BuildConfig(b"CONFIG_SMP=y\nCONFIG_HOTPLUG_PARALLEL=y\n")
SERIAL = BuildConfig(b"CONFIG_SMP=y\n# CONFIG_HOTPLUG_PARALLEL is not set\n")


def test_all_that_the_kernel_knows() -> None:
    assert tuning.words(["ro"], [], PARALLEL) == ["quiet", "cpuhp.parallel=1"]


@pytest.mark.parametrize("build", [SERIAL, None])
def test_only_what_every_kernel_knows(build: BuildConfig | None) -> None:
    assert tuning.words(["ro"], [], build) == ["quiet"]


@pytest.mark.parametrize(
    "word",
    ["quiet", "loglevel=7", "debug", "ignore_loglevel", "initcall_debug", "earlyprintk=serial"],
)
def test_a_console_that_somebody_has_set_stays_so(word: str) -> None:
    assert tuning.words([word], [], SERIAL) == []


def test_processors_that_somebody_has_set_stay_so() -> None:
    assert tuning.words(["cpuhp.parallel=0"], [], PARALLEL) == ["quiet"]


def test_the_network_does_not_wait_for_udev_to_find_it() -> None:
    assert tuning.words(["quiet"], [], None, ["e1000e", "igb"]) == ["modules_load=e1000e,igb"]
    assert tuning.words(["quiet", "modules_load=x"], [], None, ["igb"]) == []
    assert tuning.words(["quiet"], ["modules_load"], None, ["igb"]) == []


def test_what_is_for_init_decides_nothing() -> None:
    assert tuning.words(["ro", "--", "debug"], [], SERIAL) == ["quiet"]


def test_what_the_settings_take_out_is_not_brought_back() -> None:
    assert tuning.words(["ro"], ["quiet", "cpuhp.parallel"], PARALLEL) == []
