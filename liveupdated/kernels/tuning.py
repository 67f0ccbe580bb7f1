# SPDX-License-Identifier: LGPL-2.1-or-later
"""Words for the jump alone, which make the new kernel's boot quicker and change nothing after it.

All but the last are described in the kernel's Documentation/admin-guide/kernel-parameters.txt.
What would
change how the kernel works once it is up (`mitigations`, `tsc`) or leaves a check of it out
(`cryptomgr.notests`, `no_timer_check`) is not here: that is for the administrator to decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from liveupdated.kernels import cmdline
from liveupdated.kernels.features import BuildConfig


@dataclass(frozen=True)
class Tuning:
    """A word, and when it is added."""

    word: str
    unless: tuple[str, ...]
    """Parameters with which somebody has decided the matter: it is left to them."""
    needs: tuple[str, ...]
    """Options of the kernel's configuration without which the word has no meaning."""
    source: str
    """What reads it."""
    why: str


TABLE = (
    Tuning(
        "quiet",
        (
            "quiet",
            "loglevel",
            "debug",
            "ignore_loglevel",
            "initcall_debug",
            "earlycon",
            "earlyprintk",
        ),
        (),
        "init/main.c, quiet_kernel()",
        "the kernel waits for a serial console with each character; errors are still printed, and "
        "the log stays whole",
    ),
    Tuning(
        "cpuhp.parallel=1",
        ("cpuhp.parallel",),
        ("HOTPLUG_PARALLEL",),
        "kernel/cpu.c, parallel_bringup_parse_param()",
        "processors come up in parallel: the kernel's default, said aloud, so that /proc/cmdline "
        "proves it",
    ),
)


# systemd-modules-load.service(8).  udev would find them by itself, but a driver that it loads makes
# a device which comes behind all others that wait: under emulation the network, and memory that was
# set aside, are there seconds later.  And it loads several at once.
LOAD = "modules_load"


def words(
    present: Sequence[str],
    removed: Sequence[str],
    build: BuildConfig | None,
    modules: Sequence[str] = (),
) -> list[str]:
    """What to add to a command line that has the words `present`.

    `removed` is what the settings take out: it is not brought back.  Without the configuration of
    the kernel (`build`) only what every kernel knows is added.  `modules` drive what the restores
    wait for.
    """
    decided = cmdline.names((*present, *removed))
    found = [
        each.word
        for each in TABLE
        if not decided.intersection(each.unless)
        and (not each.needs or (build is not None and build.has(*each.needs)))
    ]
    if modules and LOAD not in decided:
        found.append(f"{LOAD}={','.join(modules)}")
    return found
