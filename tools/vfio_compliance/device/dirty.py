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
    """Which pages of the device's memory were written."""

    def __init__(self, transport: Transport) -> None:
        self._container = Container(transport)

    def page_sizes(self) -> int:
        """The page sizes that bitmaps may have, as a bitmap of powers of two; 0: no tracking is offered.

        Raises DeviceError if the container gives no information, or none that can be used.
        """
        return self._container.page_sizes()

    def largest_bitmap(self) -> int:
        """The most bytes of a bitmap, by the container's information; if unusable, the most that can be asked for.

        Raises DeviceError if the container's information cannot be used.
        """
        return self._container.largest_bitmap()

    @property
    def no_tracking(self) -> str:
        """Why dirty pages are not tracked, as a sentence, if nothing announces tracking."""
        return self._container.no_tracking

    @property
    def offered(self) -> bool:
        """Whether anything shows that pages are tracked: a capability, or a START that succeeds."""
        return self._container.offers_tracking

    def try_start(self) -> Outcome:
        """Begin tracking; returns the answer."""
        return self._ask(DirtyPagesFlags.START)

    def try_stop(self) -> Outcome:
        """End tracking; returns the answer."""
        return self._ask(DirtyPagesFlags.STOP)

    def try_bitmap(self, iova: int, size: int, page: int) -> tuple[Outcome, bytes]:
        """Fetch the bitmap of ``size`` bytes at ``iova``, a bit for each ``page`` bytes in whole 64-bit words.

        Returns the answer, and the bitmap, which is all zero if the request failed.
        """
        with GuardedBuffer(bitmap_bytes(-(-size // page)) or 8) as into:
            return self.try_fetch(into, iova, size, page), bytes(into.view)

    def try_fetch(self, into: GuardedBuffer, iova: int, size: int, page: int, *, room: int | None = None) -> Outcome:
        """Fetch a bitmap ``into`` the caller's memory; returns the answer.

        ``room`` is the request's size of the memory, if it is to be wrong.
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
