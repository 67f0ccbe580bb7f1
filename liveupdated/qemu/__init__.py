# SPDX-License-Identifier: LGPL-2.1-or-later
"""QEMU, as far as carrying a guest needs it: its monitor, its command line, its snapshot.

The road (docs/devel/migration/CPR.rst of QEMU, mode `cpr-reboot`): the guest is stopped, QEMU
writes the state of the devices, and of RAM that no file keeps, into a file that we hand it; after
the jump the same command line with `-incoming defer` loads it.

Standard library only: the launcher reads this on the blackout's clock.
"""
