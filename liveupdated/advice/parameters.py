# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every kernel parameter that advice is about, once, with its source.

All are described in the kernel's Documentation/admin-guide/kernel-parameters.txt; the code named
here is what reads them.  What is older than the oldest kernel this project is for is not dated.
"""

from dataclasses import dataclass

_OLD = "before 6.1"


@dataclass(frozen=True)
class Parameter:
    """A word of the kernel's command line."""

    name: str
    since: str
    """Version of Linux."""
    source: str
    effect: str
    advised: str
    """``add`` or ``remove``, which --apply does; ``say``: named in advice, never set."""


QUIET = Parameter(
    "quiet",
    _OLD,
    "init/main.c, quiet_kernel()",
    "only errors and worse go to the console (CONFIG_CONSOLE_LOGLEVEL_QUIET), and systemd shows "
    "no status unless something fails; the log stays whole",
    "add",
)
IGNORE_LOGLEVEL = Parameter(
    "ignore_loglevel",
    _OLD,
    "kernel/printk/printk.c, ignore_loglevel_setup()",
    "everything goes to the console, whatever quiet says",
    "remove",
)
LOGLEVEL = Parameter(
    "loglevel",
    _OLD,
    "init/main.c, loglevel()",
    "what is below this level goes to the console; of this, quiet and debug the last one counts",
    "say",
)
DEBUG = Parameter(
    "debug", _OLD, "init/main.c, debug_kernel()", "everything goes to the console", "say"
)
CONSOLE = Parameter(
    "console",
    _OLD,
    "kernel/printk/printk.c, console_setup()",
    "a console; the kernel waits for a serial one with each character",
    "say",
)
EARLYCON = Parameter(
    "earlycon",
    _OLD,
    "drivers/tty/serial/earlycon.c, param_setup_earlycon()",
    "an early console, polled, character by character",
    "remove",
)
EARLYPRINTK = Parameter(
    "earlyprintk",
    _OLD,
    "arch/x86/kernel/early_printk.c, setup_early_printk()",
    "an early console, polled, character by character",
    "remove",
)
PARALLEL = Parameter(
    "cpuhp.parallel",
    "6.5",
    "kernel/cpu.c, parallel_bringup_parse_param()",
    "0: processors are brought up one after the other; without it in parallel, where "
    "CONFIG_HOTPLUG_PARALLEL is built in and the platform allows it",
    "remove",
)
INITRAMFS_ASYNC = Parameter(
    "initramfs_async",
    "5.13",
    "init/initramfs.c, initramfs_async_setup()",
    "0: the initrd is unpacked before devices are looked for, instead of meanwhile",
    "remove",
)
INITCALL_DEBUG = Parameter(
    "initcall_debug",
    _OLD,
    "init/main.c, core_param(initcall_debug)",
    "writes two messages for each initcall, with the time that it took",
    "remove",
)
INITCALL_BLACKLIST = Parameter(
    "initcall_blacklist",
    "3.16",
    "init/main.c, initcall_blacklist()",
    "built-in initcalls that are left out: their drivers do not work",
    "say",
)
MODULE_BLACKLIST = Parameter(
    "module_blacklist",
    _OLD,
    "kernel/module/main.c, core_param(module_blacklist)",
    "modules that are not loaded",
    "say",
)
LOG_BUF_LEN = Parameter(
    "log_buf_len",
    _OLD,
    "kernel/printk/printk.c, log_buf_len_setup()",
    "size of the kernel's log buffer",
    "say",
)

TABLE = (
    QUIET,
    IGNORE_LOGLEVEL,
    LOGLEVEL,
    DEBUG,
    CONSOLE,
    EARLYCON,
    EARLYPRINTK,
    PARALLEL,
    INITRAMFS_ASYNC,
    INITCALL_DEBUG,
    INITCALL_BLACKLIST,
    MODULE_BLACKLIST,
    LOG_BUF_LEN,
)
