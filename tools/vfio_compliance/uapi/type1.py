# SPDX-License-Identifier: GPL-2.0-only
"""The type1 IOMMU container: mapping memory for DMA, and tracking which pages a device made dirty.

Corrections to the posted specification (v23): the dirty bitmap's size field is ``bitmap.size``, which it once
calls ``bitmap_size``; the requests are ``_IO`` numbers where comments say ``_IOWR``; the migration capability's
id is 2, because 1, which it gives, was already taken by the IOVA range capability (Linux 5.8).
"""

from __future__ import annotations

from enum import IntFlag
from typing import Final

from .requests import VFIO_IOMMU_DIRTY_PAGES as VFIO_IOMMU_DIRTY_PAGES
from .requests import VFIO_IOMMU_GET_INFO as VFIO_IOMMU_GET_INFO
from .requests import VFIO_IOMMU_MAP_DMA as VFIO_IOMMU_MAP_DMA
from .requests import VFIO_IOMMU_UNMAP_DMA as VFIO_IOMMU_UNMAP_DMA
from .vfio import ffi

ffi.cdef(
    """
    struct vfio_iommu_type1_info {
        uint32_t argsz; uint32_t flags; uint64_t iova_pgsizes; uint32_t cap_offset; uint32_t pad;
    };
    struct vfio_iommu_type1_info_cap_migration {
        struct vfio_info_cap_header header;
        uint32_t flags; uint32_t pad;
        uint64_t pgsize_bitmap; uint64_t max_dirty_bitmap_size;
    };
    struct vfio_iommu_type1_dma_map {
        uint32_t argsz; uint32_t flags; uint64_t vaddr; uint64_t iova; uint64_t size;
    };
    struct vfio_bitmap { uint64_t pgsize; uint64_t size; uint64_t data; };
    struct vfio_iommu_type1_dma_unmap {
        uint32_t argsz; uint32_t flags; uint64_t iova; uint64_t size;
    };
    struct vfio_iommu_type1_dirty_bitmap { uint32_t argsz; uint32_t flags; };
    struct vfio_iommu_type1_dirty_bitmap_get {
        uint64_t iova; uint64_t size; struct vfio_bitmap bitmap;
    };
    """
)

VFIO_TYPE1_IOMMU: Final = 1
VFIO_TYPE1v2_IOMMU: Final = 3

VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE: Final = 1
VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION: Final = 2


class IommuInfoFlags(IntFlag):
    """VFIO_IOMMU_INFO_*: which fields of the information are valid."""

    #: iova_pgsizes is valid.
    PGSIZES = 1
    #: cap_offset starts a chain of capabilities.
    CAPS = 2


class DmaMapFlags(IntFlag):
    """VFIO_DMA_MAP_FLAG_*: what the device may do with the memory."""

    #: The device may read it.
    READ = 1
    #: The device may write it.
    WRITE = 2


class DmaUnmapFlags(IntFlag):
    """VFIO_DMA_UNMAP_FLAG_*."""

    #: Return the dirty bitmap of the range before unmapping it.
    GET_DIRTY_BITMAP = 1


class DirtyPagesFlags(IntFlag):
    """VFIO_IOMMU_DIRTY_PAGES_FLAG_*: the operation; exactly one per call."""

    #: Begin tracking.
    START = 1
    #: End tracking.
    STOP = 2
    #: Fetch the bitmap of a range.
    GET_BITMAP = 4


def bitmap_bytes(pages: int) -> int:
    """Bytes of a dirty bitmap for ``pages`` pages: one bit each, in whole 64-bit words."""
    return -(-pages // 64) * 8
