# SPDX-License-Identifier: GPL-2.0-only
"""Dirty page tracking of the container (kabi v23, lines 275-297 and 356-385)."""

from __future__ import annotations

from typing import Any

from ..model.pages import bitmap_bytes
from ..transport import GuardedBuffer, Outcome, Target, Transport
from ..uapi.type1 import (
    VFIO_IOMMU_DIRTY_PAGES,
    VFIO_IOMMU_GET_INFO,
    VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION,
    DirtyPagesFlags,
    IommuInfoFlags,
)
from ..uapi.vfio import ffi
from .capability import parse_chain
from .errors import DeviceError, errno_name

_FIXED = ffi.sizeof("struct vfio_iommu_type1_info")
_CAPABILITY = ffi.sizeof("struct vfio_iommu_type1_info_cap_migration")
_HEADER = ffi.sizeof("struct vfio_info_cap_header")
_HEAD = ffi.sizeof("struct vfio_iommu_type1_dirty_bitmap")
_GET = ffi.sizeof("struct vfio_iommu_type1_dirty_bitmap_get")

#: Larger information than this is taken for nonsense.
_LARGEST_INFO = 1 << 20


class DirtyTracker:
    """What of the memory given to the device was written, page by page."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def page_sizes(self) -> int:
        """The page sizes that bitmaps may have, as a bitmap of powers of two; 0: no tracking is offered.

        Raises DeviceError for a container that gives no information, or information that cannot be used.
        """
        if (agreed := self._transport.dirty_page_size) is not None:
            return agreed
        answer, info = self._info(_FIXED)
        if _FIXED < info.argsz <= _LARGEST_INFO:
            answer, info = self._info(info.argsz)
        if info.argsz > len(answer):
            raise DeviceError(_ASKING, f"at most {_LARGEST_INFO} bytes", f"{info.argsz}")
        if not info.flags & IommuInfoFlags.CAPS:
            return 0
        for link in parse_chain(_ASKING, bytes(ffi.buffer(answer)), info.cap_offset, _FIXED):
            if link.id == VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION:
                if len(link.payload) < _CAPABILITY - _HEADER:
                    raise DeviceError(_ASKING, f"a migration capability of {_CAPABILITY} bytes", "less")
                # flags and padding come before it
                return int.from_bytes(link.payload[8:16], "little")
        return 0

    def try_start(self) -> Outcome:
        """Begin tracking; what was answered."""
        return self._ask(DirtyPagesFlags.START)

    def try_stop(self) -> Outcome:
        """End tracking; what was answered."""
        return self._ask(DirtyPagesFlags.STOP)

    def try_bitmap(self, iova: int, size: int, page: int) -> tuple[Outcome, bytes]:
        """Fetch the bitmap of ``size`` bytes at ``iova``, a bit for each ``page`` bytes in whole 64-bit words.

        What was answered, and the bitmap, which is all zero where the request failed.
        """
        with GuardedBuffer(bitmap_bytes(-(-size // page)) or 8) as into:
            return self.try_fetch(into, iova, size, page), bytes(into.view)

    def try_fetch(self, into: GuardedBuffer, iova: int, size: int, page: int, *, room: int | None = None) -> Outcome:
        """Fetch a bitmap ``into`` memory of the caller's; what was answered.

        ``room`` is what the request says of the memory's size, where that is to be wrong.
        """
        argument = ffi.new("uint8_t[]", _HEAD + _GET)
        head: Any = ffi.cast("struct vfio_iommu_type1_dirty_bitmap *", argument)
        head.argsz, head.flags = _HEAD + _GET, DirtyPagesFlags.GET_BITMAP
        get: Any = ffi.cast("struct vfio_iommu_type1_dirty_bitmap_get *", argument + _HEAD)
        get.iova, get.size = iova, size
        get.bitmap.pgsize, get.bitmap.size = page, into.length if room is None else room
        get.bitmap.data = into.address
        return self._transport.ioctl(Target.CONTAINER, VFIO_IOMMU_DIRTY_PAGES, argument)

    def _ask(self, flag: DirtyPagesFlags) -> Outcome:
        argument = ffi.new("struct vfio_iommu_type1_dirty_bitmap *", {"argsz": _HEAD, "flags": flag})
        return self._transport.ioctl(Target.CONTAINER, VFIO_IOMMU_DIRTY_PAGES, argument)

    def _info(self, size: int) -> tuple[Any, Any]:
        """The container's information, with room for ``size`` bytes: all of them, and the structure at their start."""
        answer = ffi.new("uint8_t[]", size)
        info: Any = ffi.cast("struct vfio_iommu_type1_info *", answer)
        info.argsz = size
        outcome = self._transport.ioctl(Target.CONTAINER, VFIO_IOMMU_GET_INFO, answer)
        if outcome.value < 0:
            raise DeviceError(_ASKING, "success", errno_name(outcome.errno))
        return answer, info


_ASKING = "asking for the container's information"
