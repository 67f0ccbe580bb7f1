# SPDX-License-Identifier: LGPL-2.1-or-later
"""liveupdated: change the kernel under a running machine and keep what runs on it."""

__version__ = "0.1.0"
