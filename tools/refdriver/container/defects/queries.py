# SPDX-License-Identifier: GPL-2.0-only
"""GET_BITMAP: its argsz, page size, memory and range."""

from __future__ import annotations

from errno import EINVAL

from ...overlays import defect
from ...refusal import Refusal
from ...socket import wire
from ...socket.requests import Answer, fields
from ..container import Container
from ..dirty import DirtyTracker, bitmap_size
from ..pages import Bitmap
from ..ranges import EVERYWHERE
from . import tolerance
from .spoiling import Range, ones, spoiling
from .tolerance import Tolerant

_GET = wire.DIRTY_PAGES

defect("bitmap-short-argsz-accepted", "GET_BITMAP succeeds with any argsz of 8 or more")(tolerance.taking_argsz(_GET))
defect("bitmap-argsz-40-accepted", "GET_BITMAP succeeds with an argsz that lacks only the bitmap's address")(
    tolerance.taking_argsz_without_address(_GET)
)
defect("bitmap-any-page-size", "GET_BITMAP accepts any power of two from 4096 as page size")(
    tolerance.taking_any_page_size(_GET)
)
defect("bitmap-page-size-ignored", "GET_BITMAP accepts any number as page size; the bitmap still has one bit per page")(
    tolerance.ignoring_page_size(_GET)
)
defect("bitmap-page-size-truncated", "GET_BITMAP checks only the lower 32 bits of the page size")(
    tolerance.truncating_page_size(_GET)
)


class Undoing(Container):
    """Changes the record although it refuses the request."""

    def _get_bitmap(self, body: bytes, argsz: int) -> Answer:
        try:
            return super()._get_bitmap(body, argsz)
        except Refusal:
            address, size, page_size, room = fields(wire.DIRTY_RANGE, body, wire.DIRTY.size)
            if address + size > EVERYWHERE[1]:
                self._refused_for_range()
            elif page_size != self._dirty.page_size:
                self._refused_for_page_size(address, size)
            elif not bitmap_size(size // page_size) <= room <= self._options.largest_bitmap:
                self._refused_for_room(address, size)
            raise

    def _refused_for_range(self) -> None:
        """A range that reaches past the end of all addresses."""

    def _refused_for_page_size(self, address: int, size: int) -> None:
        """A page size other than the smallest."""

    def _refused_for_room(self, address: int, size: int) -> None:
        """A bitmap that is too small or too large."""


@defect("bitmap-page-size-refused-clears", "GET_BITMAP refused for its page size clears the pages of the range")
class PageSizeRefusedClears(Undoing):
    def _refused_for_page_size(self, address: int, size: int) -> None:
        super()._refused_for_page_size(address, size)
        self._dirty.forget(address, size)


defect("bitmap-small-buffer-accepted", "GET_BITMAP accepts and fills a bitmap too small for the range")(
    tolerance.taking_small_buffer(_GET)
)
defect("bitmap-buffer-rounded-down", "GET_BITMAP accepts and fills a bitmap that lacks the word of the last pages")(
    tolerance.rounding_buffer_down(_GET)
)
defect("bitmap-exact-buffer-only", "GET_BITMAP refuses a bitmap larger than needed")(
    tolerance.taking_exact_buffer_only(_GET)
)


@defect("bitmap-size-unchecked", "GET_BITMAP accepts a bitmap of any size, even 0 and 2^63")
class SizeUnchecked(Tolerant):
    def _takes(self, command: int, room: int, least: int, pages: int) -> bool:
        return command == _GET or super()._takes(command, room, least, pages)


@defect("bitmap-largest-refused", "GET_BITMAP refuses a bitmap of the largest size announced")
class LargestRefused(Tolerant):
    def _check_given(self, command: int, room: int, least: int) -> None:
        if command == _GET and room == self._options.largest_bitmap:
            raise Refusal(EINVAL)
        super()._check_given(command, room, least)


@defect("bitmap-above-largest-accepted", "GET_BITMAP accepts a bitmap larger than the largest size announced")
class AboveLargestAccepted(Tolerant):
    def _takes(self, command: int, room: int, least: int, pages: int) -> bool:
        return (command == _GET and room > self._options.largest_bitmap) or super()._takes(command, room, least, pages)


@defect("bitmap-refused-clears", "GET_BITMAP refused for the size of its bitmap clears the pages of the range")
class RefusedClears(Undoing):
    def _refused_for_room(self, address: int, size: int) -> None:
        super()._refused_for_room(address, size)
        self._dirty.forget(address, size)


@defect("bitmap-refused-dirties", "GET_BITMAP refused for the size of its bitmap makes the whole range dirty")
class RefusedDirties(Undoing):
    def _refused_for_room(self, address: int, size: int) -> None:
        super()._refused_for_room(address, size)
        for extent in self._guest.extents(address, size):
            self._dirty.wrote(*extent)


@defect("bitmap-range-ignored", "GET_BITMAP reports from the start of the first mapping, not of the range")
class RangeIgnored(DirtyTracker):
    def get(self, address: int, size: int, room: int) -> Bitmap:
        return super().get(next((start for start, _ in self._mapped(*EVERYWHERE)), address), size, room)


def _up_to_first_hole(bits: int, of: Range) -> int:
    reached = of.mapped[0][1] if of.mapped else 0
    for low, high in of.mapped[1:]:
        if low == reached:
            reached = high
    return bits & ones(0, reached)


defect("bitmap-first-mapping-only", "GET_BITMAP reports pages after the first mapping as clean, and forgets them")(
    spoiling(lambda bits, of: bits & ones(0, of.mapped[0][1]) if of.mapped else bits)
)
defect("bitmap-stops-at-hole", "GET_BITMAP reports pages after a hole between mappings as clean, and forgets them")(
    spoiling(_up_to_first_hole)
)
defect("bitmap-loses-last-page", "GET_BITMAP does not report the last page of the range, and forgets it")(
    spoiling(lambda bits, of: bits & ones(0, of.pages - 1))
)


@defect("bitmap-cut-wedges", "GET_BITMAP of a range that cuts a mapping ends tracking")
class CutWedges(DirtyTracker):
    def get(self, address: int, size: int, room: int) -> Bitmap:
        bitmap = super().get(address, size, room)
        met = self._mapped(address, size)
        if any(start < address or address + size < start + length for start, length in met):
            self.stop()
        return bitmap


@defect("bitmap-cut-clears-mapping", "GET_BITMAP of a range that cuts a mapping forgets the pages of the whole mapping")
class CutClearsMapping(DirtyTracker):
    def _clear(self, first: int, end: int) -> None:
        for start, length in self._mapped(first * self.page_size, (end - first) * self.page_size):
            low, high = self._pages(start, length)
            first, end = min(first, low), max(end, high)
        super()._clear(first, end)


@defect("bitmap-wrap-clears", "GET_BITMAP refused for a range past the end of all addresses forgets every page")
class WrapClears(Undoing):
    def _refused_for_range(self) -> None:
        super()._refused_for_range()
        self._dirty.forget(*EVERYWHERE)
