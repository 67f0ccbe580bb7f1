# SPDX-License-Identifier: LGPL-2.1-or-later
"""Processes outside services: found, judged, started again.

Standard library only: used on the restore path.
"""
