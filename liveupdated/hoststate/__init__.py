# SPDX-License-Identifier: LGPL-2.1-or-later
"""Host state that a boot forgets: a module a category, each a snapshot and how to put it back."""

from liveupdated.hoststate import (
    addresses,
    binding,
    cgroups,
    hugepages,
    links,
    modules,
    mounts,
    nftables,
    routes,
    rules,
    swap,
    sysctl,
)

CATEGORIES = {
    category.name: category
    for category in (
        modules.CATEGORY,
        sysctl.CATEGORY,
        hugepages.CATEGORY,
        binding.CATEGORY,
        links.CATEGORY,
        nftables.CATEGORY,
        addresses.CATEGORY,
        routes.CATEGORY,
        rules.CATEGORY,
        cgroups.CATEGORY,
        mounts.CATEGORY,
        swap.CATEGORY,
    )
}
"""By name, in an order in which they can be put back."""
