# SPDX-License-Identifier: LGPL-2.1-or-later
"""What can be booted: found on disk, read from the image headers, loaded for kexec."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from liveupdated.config import Kernels


@dataclass(frozen=True)
class KernelConfig:
    """What an administrator can say about kernels."""

    allowed_folders: tuple[str, ...] = ("/boot", "/efi", "/usr/lib/modules")
    """Nothing outside of these, links resolved, is ever loaded."""
    cmdline_add: tuple[str, ...] = ()
    """Put at the end of every command line; a text may hold several words."""
    cmdline_remove: tuple[str, ...] = ()
    """`name` takes every `name` and `name=…` out, `name=value` only that very word."""
    tune: bool = True
    """Whether `tuning.TABLE` may add its words to the command line of a jump."""
    lean_initrd: bool = False
    """Whether a jump takes an initrd that `lean` has made, in place of the full one."""


def configured(kernels: "Kernels") -> KernelConfig:
    """What is said in liveupdated.toml(5)."""
    return KernelConfig(
        allowed_folders=tuple(kernels.folders),
        cmdline_add=tuple(kernels.cmdline_add),
        cmdline_remove=tuple(kernels.cmdline_remove),
        tune=kernels.tune,
        lean_initrd=kernels.lean_initrd,
    )
