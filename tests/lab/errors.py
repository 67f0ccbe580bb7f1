# SPDX-License-Identifier: LGPL-2.1-or-later
"""What can go wrong in the lab itself."""


class LabError(Exception):
    """The lab could not do what a test asked of it."""


class GuestPanic(LabError):
    """The guest's console shows an Oops or a panic that no test asked for."""


class GuestGone(LabError):
    """The guest went away (reboot, kexec, power off) while a command ran in it."""


class CommandFailed(LabError):
    """A command in the guest ended with another code than 0."""
