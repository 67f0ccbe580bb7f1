# SPDX-License-Identifier: LGPL-2.1-or-later
"""Properties are looked for without a limit: a machine that is busy proves nothing."""

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
