# SPDX-License-Identifier: LGPL-2.1-or-later
import gzip
from pathlib import Path

import pytest

from liveupdated.kernels.features import (
    CRIU_OPTIONS,
    BuildConfig,
    Features,
    features,
    find_config,
    releases,
)
from tests.unit.kernels.conftest import RUNNING
from tests.unit.kernels.fabricate import put

CRIU = "".join(f"CONFIG_{option}=y\n" for option in CRIU_OPTIONS)


def of(text: str) -> Features:
    return features(BuildConfig(text.encode()))


def test_without_configuration_all_is_unknown() -> None:
    assert features(None) == Features(None, None, None, None, None, ())


def test_what_is_on_and_off() -> None:
    found = of(CRIU + "CONFIG_KEXEC_FILE=y\n# CONFIG_HOTPLUG_PARALLEL is not set\n")
    assert found.kexec_file is True
    assert found.criu is True
    assert found.parallel_bringup is False
    assert found.deferred_pages is False


def test_a_module_will_do_and_what_is_missing_is_named() -> None:
    assert of(CRIU.replace("UNIX_DIAG=y", "UNIX_DIAG=m")).criu is True
    found = of(CRIU.replace("CONFIG_UNIX_DIAG=y", "# CONFIG_UNIX_DIAG is not set"))
    assert found.criu is False
    assert found.criu_missing == ("UNIX_DIAG",)


def test_handover_needs_both() -> None:
    assert of("CONFIG_KEXEC_HANDOVER=y\n").handover is False
    assert of("CONFIG_KEXEC_HANDOVER=y\nCONFIG_LIVEUPDATE=y\n").handover is True


def test_options_are_told_from_longer_ones() -> None:
    assert of("CONFIG_KEXEC_FILE_X=y\nCONFIG_ARCH_SUPPORTS_KEXEC_FILE=y\n").kexec_file is False


@pytest.mark.parametrize("place", ["boot/config-6.1-x", "usr/lib/modules/6.1-x/config"])
def test_where_distributions_leave_it(root: Path, place: str) -> None:
    assert find_config("6.1-x") is None
    put(root / place, "CONFIG_KEXEC_FILE=y\n")
    config = find_config("6.1-x")
    assert config is not None and config.has("KEXEC_FILE")


def test_running_kernel_shows_its_own(root: Path) -> None:
    put(root / "proc/config.gz", gzip.compress(b"CONFIG_LIVEUPDATE=y\n"))
    config = find_config(RUNNING)
    assert config is not None and config.has("LIVEUPDATE")
    assert find_config("another") is None


def test_damaged_configuration_is_unknown(root: Path) -> None:
    put(root / "proc/config.gz", gzip.compress(b"CONFIG_LIVEUPDATE=y\n")[:-6])
    assert find_config(RUNNING) is None


def test_a_release_cannot_lead_elsewhere(root: Path) -> None:
    put(root / "usr/lib/config", "CONFIG_KEXEC_FILE=y\n")
    (root / "usr/lib/modules").mkdir()
    assert find_config("..") is None
    assert find_config("../modules/..") is None


def test_releases_are_those_that_have_a_configuration(root: Path) -> None:
    assert releases() == []
    put(root / "boot/config-6.1-x", "")
    put(root / "usr/lib/modules/6.1-x/config", "")
    put(root / "usr/lib/modules/7.3-y/config", "")
    put(root / "usr/lib/modules/8.0-z/modules.dep", "")
    assert releases() == ["6.1-x", "7.3-y"]
