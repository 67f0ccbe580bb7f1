# SPDX-License-Identifier: LGPL-2.1-or-later
"""The kernels that are never to be tried again, with the reason for each."""

import json

from liveupdated import paths
from liveupdated.errors import BadKernel
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
    write_durably(paths.BLOCKED_KERNELS, json.dumps(read() | {kernel_id: reason}).encode())


def _bad_list(why: str) -> BadKernel:
    return BadKernel(
        "the list of blocked kernels cannot be read",
        f"{paths.BLOCKED_KERNELS}: {why}",
        "repair it or remove it",
    )
