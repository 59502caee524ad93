# SPDX-License-Identifier: GPL-2.0-only
"""Whether a refused request has really changed nothing."""

from __future__ import annotations

from contextlib import suppress

from ..device import Container, DeviceError
from ..run.checks import NotApplicable, broken, declined
from ..transport import Outcome
from ..uapi.type1 import DirtyPagesFlags, DmaUnmapFlags
from .guest_memory import GuestMemory

#: Pages of the mapping, and the one of them that is written.
_PAGES, _WRITTEN = 4, 1

#: Bytes of its bitmap.
_BITMAP = 8


class Canary:
    """One mapping with tracking on or off; if on, with a written page to report, if the device can write one."""

    def __init__(self, container: Container, guest: GuestMemory) -> None:
        self._container = container
        self._guest = guest
        self._tracking = self._written = False
        self._bitmap = container.guarded(_BITMAP)
        #: Bytes of the mapping, and where it begins.
        self.size = _PAGES * guest.page
        self.iova = guest.iova(0)
        #: Whether the state of the container is known: after begin(), only once it has been seen.
        self.sure = True

    def begin(self, *, tracking: bool) -> None:
        """Map the memory, start tracking if ``tracking``, and have a page written."""
        self._tracking, self.sure = tracking, False
        self._guest.map(0, _PAGES)
        if tracking:
            self._guest.start()
            with suppress(NotApplicable):
                self._guest.make_dirty(_WRITTEN)
                self._written = True

    def dirty_request(self, flags: int, argsz: int) -> bytearray:
        """VFIO_IOMMU_DIRTY_PAGES: with GET_BITMAP among the flags for the bitmap of the mapping; else ones follow."""
        if not flags & DirtyPagesFlags.GET_BITMAP:
            return self._container.dirty_request(flags, argsz=argsz)
        return self._container.dirty_request(
            flags,
            argsz=argsz,
            iova=self.iova,
            size=self.size,
            page=self._guest.page,
            bitmap=self._bitmap,
            bitmap_size=_BITMAP,
        )

    def unmap_request(self, flags: int, argsz: int) -> bytearray:
        """VFIO_IOMMU_UNMAP_DMA of the mapping: with GET_DIRTY_BITMAP among the flags its bitmap too, or ones."""
        if not flags & DmaUnmapFlags.GET_DIRTY_BITMAP:
            return self._container.unmap_request(self.iova, self.size, flags=flags, argsz=argsz)
        return self._container.unmap_request(
            self.iova,
            self.size,
            flags=flags,
            argsz=argsz,
            page=self._guest.page,
            bitmap=self._bitmap,
            bitmap_size=_BITMAP,
        )

    # -- afterwards -------------------------------------------------------------------------------------------------

    def declined(self, what: str, outcome: Outcome) -> None:
        """The request failed, and everything is as begin() left it."""
        declined(what, outcome)
        self.unchanged(what)

    def unchanged(self, after: str) -> None:
        """Everything is as begin() left it: tracking, its record, the bitmap buffer, and the mapping."""
        if any(self._bitmap.view):
            broken(f"looking at the bitmap's memory after {after}", expected="zeros as before", seen="a bit set")
        if not self._container.maps(self.iova, self.size):
            broken(f"mapping the same range again after {after}", expected="an error: it is mapped", seen="success")
        self._tracks(self._tracking, after)
        self.sure = True

    def settles(self, *, tracking: bool, after: str, got: bool = False) -> None:
        """Tracking is on or off now, and with ``got`` the requested bitmap has the written page."""
        if got:
            known = _WRITTEN in self._guest.take_served(0, _PAGES)
            if self._written and not known and not self._bitmap.view[0] & 1 << _WRITTEN:
                broken(f"looking at the bitmap after {after}", expected=f"bit {_WRITTEN} set", seen="it is clear")
            self._guest.history.reported(0, _PAGES)
        self._tracks(tracking, after)
        self.sure = True

    def _tracks(self, expected: bool, after: str) -> None:
        """Tracking is on, with the written page on record, or it is off."""
        what = f"asking for the bitmap after {after}"
        if not expected:
            if self._guest.try_get(0, _PAGES).ok:
                broken(what, expected="an error: tracking is off", seen="success")
            self._guest.transport.may_track = False  # it must not be stopped again, which has no documented effect
            return
        try:
            answer = self._guest.get(0, _PAGES)
        except DeviceError as error:
            broken(what, expected="success: tracking is on", seen=error.seen)
        answer.complete()

    def gone(self, after: str) -> None:
        """The mapping is gone."""
        if self._container.maps(self.iova, self.size):
            broken(f"mapping the same range again after {after}", expected="success: it is unmapped", seen="an error")
        self._guest.mapping(0).mapped = False
        self.sure = True

    def release(self) -> None:
        """Release the bitmap buffer."""
        self._bitmap.release()
