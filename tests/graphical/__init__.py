# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a user sees at a desktop: the packages in a container, with a real systemd and real bus."""
