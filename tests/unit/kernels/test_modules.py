# SPDX-License-Identifier: LGPL-2.1-or-later
from pathlib import Path

from liveupdated.kernels import modules
from tests.unit.kernels.fabricate import put

DEP = """\
kernel/net/unix/unix_diag.ko.xz:
kernel/net/ipv4/tcp_diag.ko.xz: kernel/net/ipv4/inet_diag.ko.xz
kernel/drivers/nvdimm/nd-e820.ko: kernel/drivers/nvdimm/libnvdimm.ko
updates/igb.ko.zst:
"""


def test_only_what_the_kernel_has_as_a_module_is_loaded(root: Path) -> None:
    put(root / "usr/lib/modules/6.18.1/modules.dep", DEP)
    wanted = ["nd_e820", "igb", "built_in", "tcp_diag", "igb", "xz"]
    assert modules.loadable("6.18.1", wanted) == ["nd_e820", "igb", "tcp_diag"]
    assert modules.loadable("6.18.2", wanted) == []
