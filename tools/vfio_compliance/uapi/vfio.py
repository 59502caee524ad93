# SPDX-License-Identifier: GPL-2.0-only
"""Groups, containers, devices and regions: linux/vfio.h, unchanged since Linux 3.6."""

from __future__ import annotations

from enum import IntFlag
from typing import Final

import cffi

from .requests import VFIO_API_VERSION as VFIO_API_VERSION
from .requests import VFIO_CHECK_EXTENSION as VFIO_CHECK_EXTENSION
from .requests import VFIO_DEVICE_GET_INFO as VFIO_DEVICE_GET_INFO
from .requests import VFIO_DEVICE_GET_IRQ_INFO as VFIO_DEVICE_GET_IRQ_INFO
from .requests import VFIO_DEVICE_GET_REGION_INFO as VFIO_DEVICE_GET_REGION_INFO
from .requests import VFIO_DEVICE_RESET as VFIO_DEVICE_RESET
from .requests import VFIO_DEVICE_SET_IRQS as VFIO_DEVICE_SET_IRQS
from .requests import VFIO_GET_API_VERSION as VFIO_GET_API_VERSION
from .requests import VFIO_GROUP_GET_DEVICE_FD as VFIO_GROUP_GET_DEVICE_FD
from .requests import VFIO_GROUP_GET_STATUS as VFIO_GROUP_GET_STATUS
from .requests import VFIO_GROUP_SET_CONTAINER as VFIO_GROUP_SET_CONTAINER
from .requests import VFIO_GROUP_UNSET_CONTAINER as VFIO_GROUP_UNSET_CONTAINER
from .requests import VFIO_SET_IOMMU as VFIO_SET_IOMMU

#: The one cffi instance: structures of every module of this package are declared on it.
ffi: Final = cffi.FFI()

ffi.cdef(
    """
    struct vfio_group_status { uint32_t argsz; uint32_t flags; };
    struct vfio_device_info {
        uint32_t argsz; uint32_t flags; uint32_t num_regions; uint32_t num_irqs;
        uint32_t cap_offset; uint32_t pad;
    };
    struct vfio_info_cap_header { uint16_t id; uint16_t version; uint32_t next; };
    struct vfio_region_info {
        uint32_t argsz; uint32_t flags; uint32_t index; uint32_t cap_offset;
        uint64_t size; uint64_t offset;
    };
    struct vfio_region_sparse_mmap_area { uint64_t offset; uint64_t size; };
    struct vfio_region_info_cap_sparse_mmap {
        struct vfio_info_cap_header header;
        uint32_t nr_areas; uint32_t reserved;
        struct vfio_region_sparse_mmap_area areas[];
    };
    struct vfio_region_info_cap_type {
        struct vfio_info_cap_header header;
        uint32_t type; uint32_t subtype;
    };
    struct vfio_irq_info { uint32_t argsz; uint32_t flags; uint32_t index; uint32_t count; };
    struct vfio_irq_set {
        uint32_t argsz; uint32_t flags; uint32_t index; uint32_t start; uint32_t count;
        uint8_t data[];
    };
    """
)


VFIO_REGION_INFO_CAP_SPARSE_MMAP: Final = 1
VFIO_REGION_INFO_CAP_TYPE: Final = 2


class GroupFlags(IntFlag):
    """VFIO_GROUP_FLAGS_*: what VFIO_GROUP_GET_STATUS reports."""

    #: Every device of the group is bound to a vfio driver or to none.
    VIABLE = 1
    #: The group belongs to a container.
    CONTAINER_SET = 2


class DeviceFlags(IntFlag):
    """VFIO_DEVICE_FLAGS_*: what VFIO_DEVICE_GET_INFO reports."""

    #: VFIO_DEVICE_RESET is supported.
    RESET = 1
    #: Region indexes follow the PCI convention (BARs 0-5, ROM 6, configuration space 7, VGA 8).
    PCI = 2
    #: A platform device.
    PLATFORM = 4
    #: An ARM AMBA device.
    AMBA = 8
    #: An s390 channel I/O device.
    CCW = 16
    #: An s390 adjunct processor.
    AP = 32
    #: A device on the fsl-mc bus.
    FSL_MC = 64
    #: cap_offset is meaningful.
    CAPS = 128


class RegionFlags(IntFlag):
    """VFIO_REGION_INFO_FLAG_*: what VFIO_DEVICE_GET_REGION_INFO reports."""

    #: read() is supported.
    READ = 1
    #: write() is supported.
    WRITE = 2
    #: mmap() is supported, for all of the region or the areas of the sparse mmap capability.
    MMAP = 4
    #: cap_offset starts a chain of capabilities.
    CAPS = 8


class IrqInfoFlags(IntFlag):
    """VFIO_IRQ_INFO_*: what VFIO_DEVICE_GET_IRQ_INFO reports."""

    #: Each vector can be reported by an eventfd.
    EVENTFD = 1
    #: Vectors can be masked and unmasked.
    MASKABLE = 2
    #: A vector that fires is masked until it is unmasked (level-triggered).
    AUTOMASKED = 4
    #: The vectors in use are chosen together: to use more, all have to be given up first.
    NORESIZE = 8


class IrqSetFlags(IntFlag):
    """VFIO_IRQ_SET_*: one kind of data and one action of VFIO_DEVICE_SET_IRQS."""

    #: No data follows: the action applies to each vector of the range.
    DATA_NONE = 1
    #: A byte for each vector: whether the action applies to it.
    DATA_BOOL = 2
    #: A descriptor for each vector, 32 bits with a sign: an eventfd, or -1 for none.
    DATA_EVENTFD = 4
    ACTION_MASK = 8
    ACTION_UNMASK = 16
    #: With descriptors: report the vectors to them; without: fire them now. A count of 0 disables the whole index.
    ACTION_TRIGGER = 32
