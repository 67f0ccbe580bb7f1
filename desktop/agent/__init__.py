# SPDX-License-Identifier: LGPL-2.1-or-later
"""The session agent: what the daemon does, told to whoever sits at the machine.

A client of the D-Bus interface and nothing else: it decides nothing that the daemon decides.
"""
