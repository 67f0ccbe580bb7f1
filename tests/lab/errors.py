# SPDX-License-Identifier: LGPL-2.1-or-later
"""What can go wrong in the lab itself."""


class LabError(Exception):
    """The lab could not do what a test asked of it."""


class GuestPanic(LabError):
    """The guest's console shows an Oops or a panic that no test asked for."""


class EmulatorFault(GuestPanic):
    """The guest ran into a breakpoint that was no longer there: QEMU's fault, not the guest's.

    The kernel patches its text under a breakpoint (int3).  Under multi-threaded emulation a virtual
    CPU may, once in some fifty boots, go on with a translation of the breakpoint after it is over.
    QEMU's commit deba78709a (8.1) made that rare; with 10.0.2 it was seen once.
    """


class GuestGone(LabError):
    """The guest went away (reboot, kexec, power off) while a command ran in it."""


class CommandFailed(LabError):
    """A command in the guest ended with another code than 0."""
