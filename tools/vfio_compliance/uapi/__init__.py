# SPDX-License-Identifier: GPL-2.0-only
"""The kernel ABI as facts: request numbers, structures, constants. There is no behaviour here.

``vfio`` is what every VFIO user needs, ``type1`` the IOMMU container, ``migration_v1`` the migration
region. Another version of the interface is another module next to these.
"""
