# SPDX-License-Identifier: GPL-2.0-only
"""What a transport itself must know about a region: its offset in the device's file, its permissions."""

from __future__ import annotations

import errno
import mmap
from typing import Any, Final, NamedTuple

from ..common.words import counted
from ..uapi.vfio import RegionFlags, ffi

#: Bytes of struct vfio_region_info, capabilities not counted.
INFO_SIZE: Final = 32


class Placement(NamedTuple):
    """The part of VFIO_DEVICE_GET_REGION_INFO's answer that accesses depend on."""

    flags: int
    #: Offset of the region in the device's file.
    offset: int


def placement(info: memoryview) -> tuple[int, Placement]:
    """Index and placement from a filled struct vfio_region_info."""
    filled: Any = ffi.from_buffer("struct vfio_region_info *", info)
    return filled.index, Placement(filled.flags, filled.offset)


def map_region(descriptor: int, where: Placement, offset: int, length: int) -> mmap.mmap:
    """Map ``length`` bytes from ``offset`` of the region, shared. Raises OSError only."""
    if length <= 0 or offset < 0:
        raise OSError(errno.EINVAL, f"mapping of {counted(length, 'byte')} at {offset}")
    protection = mmap.PROT_READ if where.flags & RegionFlags.READ else 0
    if where.flags & RegionFlags.WRITE:
        protection |= mmap.PROT_WRITE
    try:
        return mmap.mmap(descriptor, length, mmap.MAP_SHARED, protection, offset=where.offset + offset)
    except ValueError as error:
        # The file is too short: touching the missing part would kill this process with SIGBUS.
        raise OSError(errno.ENXIO, str(error)) from None
    except OverflowError as error:
        raise OSError(errno.EINVAL, str(error)) from None
