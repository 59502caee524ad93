# SPDX-License-Identifier: GPL-2.0-only
"""Dirty page tracking of the container (kabi v23, lines 275-297 and 356-385)."""

from __future__ import annotations

from typing import Any

from ..model.pages import bitmap_bytes
from ..transport import GuardedBuffer, Outcome, Target, Transport
from ..uapi.type1 import VFIO_IOMMU_DIRTY_PAGES, DirtyPagesFlags
from ..uapi.vfio import ffi
from .container import Container

_HEAD = ffi.sizeof("struct vfio_iommu_type1_dirty_bitmap")
_GET = ffi.sizeof("struct vfio_iommu_type1_dirty_bitmap_get")


class DirtyTracker:
    """What of the memory given to the device was written, page by page."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def page_sizes(self) -> int:
        """The page sizes that bitmaps may have, as a bitmap of powers of two; 0: no tracking is offered.

        Raises DeviceError for a container that gives no information, or information that cannot be used.
        """
        return Container(self._transport).page_sizes()

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
