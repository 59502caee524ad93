# SPDX-License-Identifier: GPL-2.0-only
"""The numbers of VFIO's requests, without the structures: reading recorded calls does not require cffi."""

from __future__ import annotations

from typing import Final


def io(number: int) -> int:
    """Number of an argument-less-encoded request: all of VFIO uses type ';' and base 100."""
    return ord(";") << 8 | 100 + number


VFIO_API_VERSION: Final = 0

VFIO_GET_API_VERSION: Final = io(0)
VFIO_CHECK_EXTENSION: Final = io(1)
VFIO_SET_IOMMU: Final = io(2)
VFIO_GROUP_GET_STATUS: Final = io(3)
VFIO_GROUP_SET_CONTAINER: Final = io(4)
VFIO_GROUP_UNSET_CONTAINER: Final = io(5)
VFIO_GROUP_GET_DEVICE_FD: Final = io(6)
VFIO_DEVICE_GET_INFO: Final = io(7)
VFIO_DEVICE_GET_REGION_INFO: Final = io(8)
VFIO_DEVICE_GET_IRQ_INFO: Final = io(9)
VFIO_DEVICE_SET_IRQS: Final = io(10)
VFIO_DEVICE_RESET: Final = io(11)

VFIO_IOMMU_GET_INFO: Final = io(12)
VFIO_IOMMU_MAP_DMA: Final = io(13)
VFIO_IOMMU_UNMAP_DMA: Final = io(14)
VFIO_IOMMU_DIRTY_PAGES: Final = io(17)

#: The requests that return a bitmap of dirty pages.
BITMAP_REQUESTS: Final = (VFIO_IOMMU_UNMAP_DMA, VFIO_IOMMU_DIRTY_PAGES)
