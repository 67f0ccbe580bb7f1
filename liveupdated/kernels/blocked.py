# SPDX-License-Identifier: LGPL-2.1-or-later
"""The kernels that are never to be tried again, with the reason for each."""

import json

from liveupdated import paths
from liveupdated.errors import BadKernel, NotFound
from liveupdated.session import write_durably


def read() -> dict[str, str]:
    """Kernel id to reason.

    Raises BadKernel when the list is there and cannot be read: to go on would be to try one.
    """
    try:
        data = json.loads(paths.BLOCKED_KERNELS.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _bad_list(str(error)) from error
    if not isinstance(data, dict):
        raise _bad_list("it is not a JSON object")
    return {str(kernel): str(reason) for kernel, reason in data.items()}


def add(kernel_id: str, reason: str) -> None:
    """Never try that kernel again.  Raises BadKernel as `read` does."""
    _write(read() | {kernel_id: reason})


def remove(kernel_id: str) -> None:
    """It may be tried again.  Raises NotFound when it is not blocked, BadKernel as `read` does."""
    blocked = read()
    if kernel_id not in blocked:
        known = f"these are: {', '.join(sorted(blocked))}" if blocked else "none is"
        raise NotFound(f"kernel {kernel_id} is not blocked", known)
    del blocked[kernel_id]
    _write(blocked)


def _write(blocked: dict[str, str]) -> None:
    write_durably(paths.BLOCKED_KERNELS, json.dumps(blocked).encode())


def _bad_list(why: str) -> BadKernel:
    return BadKernel(
        "the list of blocked kernels cannot be read",
        f"{paths.BLOCKED_KERNELS}: {why}",
        "repair it or remove it",
    )
