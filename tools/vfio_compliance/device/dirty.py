# SPDX-License-Identifier: GPL-2.0-only
"""Dirty page tracking of the container (kabi v23, lines 290-310 and 356-385)."""

from __future__ import annotations

from ..transport import GuardedBuffer, Outcome, Transport
from ..uapi.type1 import VFIO_IOMMU_DIRTY_PAGES, DirtyPagesFlags, bitmap_bytes
from ..uapi.vfio import ffi
from .container import Container

#: Size of a request for a bitmap.
_GET = ffi.sizeof("struct vfio_iommu_type1_dirty_bitmap") + ffi.sizeof("struct vfio_iommu_type1_dirty_bitmap_get")


class DirtyTracker:
    """What of the memory given to the device was written, page by page."""

    def __init__(self, transport: Transport) -> None:
        self._container = Container(transport)

    def page_sizes(self) -> int:
        """The page sizes that bitmaps may have, as a bitmap of powers of two; 0: no tracking is offered.

        Raises DeviceError for a container that gives no information, or information that cannot be used.
        """
        return self._container.page_sizes()

    def largest_bitmap(self) -> int:
        """Bytes of a bitmap at most, as the container says; as many as can be asked for where it says nothing usable.

        Raises DeviceError for a container that gives information that cannot be used.
        """
        return self._container.largest_bitmap()

    @property
    def no_tracking(self) -> str:
        """Why no dirty pages are tracked, as a sentence, where nothing announces it."""
        return self._container.no_tracking

    @property
    def offered(self) -> bool:
        """Whether anything says that pages are tracked, a capability or a START that succeeds."""
        return self._container.offers_tracking

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
        request = Container.dirty_request(
            DirtyPagesFlags.GET_BITMAP,
            argsz=_GET,
            iova=iova,
            size=size,
            page=page,
            bitmap=into,
            bitmap_size=into.length if room is None else room,
        )
        return self._container.try_request(VFIO_IOMMU_DIRTY_PAGES, request)

    def _ask(self, flag: DirtyPagesFlags) -> Outcome:
        return self._container.try_request(VFIO_IOMMU_DIRTY_PAGES, Container.dirty_request(flag))
