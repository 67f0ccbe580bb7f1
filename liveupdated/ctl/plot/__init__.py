# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pictures of what the daemon said: shapes go in, SVG or HTML comes out; nothing but the library.

Why there is no plotting library: docs/decisions/0011-own-svg.md.
"""
