# SPDX-License-Identifier: LGPL-2.1-or-later
"""The details window: a client of the D-Bus contract with GTK 4 and libadwaita.

`model` says what is shown, without a toolkit; a page a file shows it.
"""
