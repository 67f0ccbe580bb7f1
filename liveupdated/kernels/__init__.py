# SPDX-License-Identifier: LGPL-2.1-or-later
"""What can be booted: found on disk, read from the image headers, loaded for kexec."""

from dataclasses import dataclass


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
