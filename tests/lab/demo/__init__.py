# SPDX-License-Identifier: LGPL-2.1-or-later
"""`make demo`: a live update from a kernel to the next one, shown and proven in a machine.

Standard library only, so that it runs on a bare Debian.  `guest/` is laid out as in the machine.
"""
