# SPDX-License-Identifier: GPL-2.0-only
"""The messages of vfio-user, as layouts and numbers. Everything is little-endian; sizes are in bytes."""

from __future__ import annotations

from struct import Struct

#: message id, command, message size with this header, flags, errno
HEADER = Struct("<HHIII")

TYPE_MASK = 0xF
TYPE_COMMAND = 0
TYPE_REPLY = 1
NO_REPLY = 0x10
ERROR = 0x20

VERSION = 1
DMA_MAP = 2
DMA_UNMAP = 3
DEVICE_GET_INFO = 4
DEVICE_GET_REGION_INFO = 5
DEVICE_GET_IRQ_INFO = 7
DEVICE_SET_IRQS = 8
REGION_READ = 9
REGION_WRITE = 10
DMA_WRITE = 12
DEVICE_RESET = 13
DIRTY_PAGES = 14
#: An extension of ours (DEVICE.md, Container information): VFIO_IOMMU_GET_INFO.
CONTAINER_GET_INFO = 0x8001

#: major, minor
VERSION_HEAD = Struct("<HH")
#: argsz, flags, offset in the file, address, size
MAP = Struct("<IIQQQ")
MAP_READ = 1
MAP_WRITE = 2
#: argsz, flags, address, size
UNMAP = Struct("<IIQQ")
UNMAP_GET_BITMAP = 1
UNMAP_ALL = 2
#: page size, size of the bitmap
BITMAP = Struct("<QQ")
#: argsz, flags, number of regions, number of interrupt indexes
DEVICE_INFO = Struct("<IIII")
DEVICE_RESETTABLE = 1
DEVICE_PCI = 2
#: argsz, flags, index, offset of the first capability, size, offset to map at
REGION_INFO = Struct("<IIIIQQ")
REGION_READABLE = 1
REGION_WRITABLE = 2
REGION_MAPPABLE = 4
REGION_CAPABILITIES = 8
#: id, version, offset of the next capability
CAPABILITY = Struct("<HHI")
CAPABILITY_SPARSE_MMAP = 1
CAPABILITY_TYPE = 2
#: number of areas, reserved
SPARSE_HEAD = Struct("<II")
#: offset, size
SPARSE_AREA = Struct("<QQ")
#: type, subtype
REGION_TYPE = Struct("<II")
REGION_TYPE_MIGRATION = 3
REGION_SUBTYPE_MIGRATION = 1
#: argsz, flags, index, count
IRQ_INFO = Struct("<IIII")
IRQ_BY_EVENTFD = 1
IRQ_MASKABLE = 2
#: argsz, flags, index, start, count
SET_IRQS = Struct("<IIIII")
IRQ_NONE = 1
IRQ_BOOL = 2
IRQ_EVENTFD = 4
IRQ_MASK = 8
IRQ_UNMASK = 16
IRQ_TRIGGER = 32
#: offset, region, count
REGION_ACCESS = Struct("<QII")
#: address, count
DMA_ACCESS = Struct("<QQ")
#: argsz, flags
DIRTY = Struct("<II")
DIRTY_START = 1
DIRTY_STOP = 2
DIRTY_GET = 4
#: address, size, page size, size of the bitmap
DIRTY_RANGE = Struct("<QQQQ")

#: Most data that one message to us may carry; also the limit of a peer that does not announce one.
MAX_DATA = 1 << 20
#: Most descriptors accepted with one message.
MAX_FDS = 1
#: No request is longer than this: the data of a REGION_WRITE, and room for the fixed parts and JSON.
MAX_MESSAGE = MAX_DATA + 4096
