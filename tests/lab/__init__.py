# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lab: real machines to test on.

`image` builds a Debian with two kernels once and caches it, `qemu` boots it as a virtual machine
whose control channel survives kexec, `container` boots it under systemd-nspawn where no kernel is
changed.  `python -m tests.lab` prepares all of it beforehand, or opens a machine to play with.
"""
