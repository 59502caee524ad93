# SPDX-License-Identifier: GPL-2.0-only
"""A container that does not check requests for a bitmap as it should: what both kinds of request have in common.

A request that it wrongly accepts is corrected before the good container sees it; one that it wrongly refuses is
refused first. ``command`` says which request it is: DIRTY_PAGES or DMA_UNMAP.
"""

from __future__ import annotations

from contextlib import suppress
from errno import EINVAL
from typing import NamedTuple

from ...refusal import Refusal
from ...socket import wire
from ...socket.requests import Answer, fields
from ..container import GET_FIXED, UNMAP_FIXED, Container
from ..dirty import bitmap_size
from ..pages import Bitmap

#: Most bytes of one dirty bitmap, whatever the options: 2^31 pages.
LARGEST_BITMAP = 1 << 28
_PAGE = 4096
#: Impossibly large bitmaps may be accepted. Above this size the reply has only the words of the range.
_LARGEST_REPLY = LARGEST_BITMAP + _PAGE
_LOW_HALF, _ENOUGH = 2**32 - 1, 2**32 - 1
#: Bytes of both requests as a user of the kernel passes them, without the address of the bitmap.
_WITHOUT_ADDRESS = 40


class Asked(NamedTuple):
    """A request for a bitmap: the values that the good container sees, and how its answer is changed."""

    page_size: int
    room: int
    #: Bytes per bit as the container has them, bytes per bit of the reply, and bytes of the reply.
    smallest: int
    unit: int
    given: int

    def cut(self, bitmap: bytes | memoryview) -> bytes | memoryview:
        """The bitmap as the caller gets it."""
        if self.unit == self.smallest and len(bitmap) == self.given:
            return bitmap
        result = Bitmap(self.given)
        if self.unit == self.smallest:
            length = min(len(bitmap), self.given)
            result.content[:length] = bitmap[:length]
        else:
            value = int.from_bytes(bitmap, "little")
            for bit in range(value.bit_length()):
                result.put(bit * self.smallest // self.unit, value >> bit & 1)
        return result.content


class Tolerant(Container):
    """Makes the checks that its subclasses do not disable."""

    def _seen(self, command: int, page_size: int) -> tuple[int, int]:
        """The page size that replaces the given one, and the bytes per bit of the reply."""
        return page_size, self._dirty.page_size

    def _has_room(self, command: int, argsz: int, needed: int) -> bool:
        """Whether argsz is accepted."""
        return argsz >= min(needed, _ENOUGH)

    def _check_given(self, command: int, room: int, least: int) -> None:
        """Refuse valid memory for the bitmap."""

    def _takes(self, command: int, room: int, least: int, pages: int) -> bool:
        """Whether memory of the wrong size is accepted."""
        return False

    def _pass_off(self, command: int, size: int, page_size: int, room: int) -> Asked:
        """The values that replace the given page size and memory for the bitmap."""
        smallest = self._dirty.page_size
        seen, unit = self._seen(command, page_size)
        least, whole = bitmap_size(-(-size // unit)), bitmap_size(size // smallest)
        self._check_given(command, room, least)
        if self._takes(command, room, least, size // unit):
            return Asked(seen, whole, smallest, unit, room if room <= _LARGEST_REPLY else least)
        return Asked(seen, whole if unit != smallest and room >= least else room, smallest, unit, room)

    def _get_bitmap(self, body: bytes, argsz: int) -> Answer:
        address, size, page_size, room = fields(wire.DIRTY_RANGE, body, wire.DIRTY.size)
        asked = self._pass_off(wire.DIRTY_PAGES, size, page_size, room)
        needed = GET_FIXED + asked.given
        passed = _ENOUGH if self._has_room(wire.DIRTY_PAGES, argsz, needed) else argsz
        request = wire.DIRTY.pack(passed, wire.DIRTY_GET)
        request += wire.DIRTY_RANGE.pack(address, size, asked.page_size, asked.room)
        answer = super()._get_bitmap(request, passed)
        head = wire.DIRTY.pack(needed, wire.DIRTY_GET) + wire.DIRTY_RANGE.pack(address, size, page_size, room)
        return Answer(head, data=asked.cut(answer.data) if len(answer.data) else b"")

    def _unmap_with_bitmap(self, body: bytes, argsz: int, address: int, size: int) -> Answer:
        page_size, room = fields(wire.BITMAP, body, wire.UNMAP.size)
        asked = self._pass_off(wire.DMA_UNMAP, size, page_size, room)
        needed = UNMAP_FIXED + asked.given
        passed = _ENOUGH if self._has_room(wire.DMA_UNMAP, argsz, needed) else argsz
        request = wire.UNMAP.pack(passed, wire.UNMAP_GET_BITMAP, address, size)
        request += wire.BITMAP.pack(asked.page_size, asked.room)
        answer = super()._unmap_with_bitmap(request, passed, address, size)
        _, flags, _, unmapped = wire.UNMAP.unpack_from(answer.body)
        head = wire.UNMAP.pack(needed, flags, address, unmapped) + wire.BITMAP.pack(page_size, room)
        return Answer(head, data=asked.cut(answer.data) if unmapped else b"")

    def _unmap_anyway(self, address: int, size: int) -> None:
        """Unmap a range if there is such a mapping."""
        with suppress(Refusal):
            self._guest.check_unmap(address, size)
            self._guest.unmap(address, size)


def taking_argsz(of: int, least: int = 0) -> type[Tolerant]:
    """A container that accepts any argsz from ``least`` on."""

    class TakingArgsz(Tolerant):
        def _has_room(self, command: int, argsz: int, needed: int) -> bool:
            return (command == of and argsz >= least) or super()._has_room(command, argsz, needed)

    return TakingArgsz


def taking_argsz_without_address(of: int) -> type[Tolerant]:
    """A container that accepts an argsz that lacks only the address of the bitmap."""
    return taking_argsz(of, _WITHOUT_ADDRESS)


def taking_any_page_size(of: int) -> type[Tolerant]:
    """A container that gives a bitmap in units of any power of two from 4096."""

    class TakingAnyPageSize(Tolerant):
        def _seen(self, command: int, page_size: int) -> tuple[int, int]:
            if command == of and page_size >= _PAGE and not page_size & page_size - 1:
                return self._dirty.page_size, page_size
            return super()._seen(command, page_size)

    return TakingAnyPageSize


def ignoring_page_size(of: int) -> type[Tolerant]:
    """A container that accepts any number as page size."""

    class IgnoringPageSize(Tolerant):
        def _seen(self, command: int, page_size: int) -> tuple[int, int]:
            return super()._seen(command, self._dirty.page_size if command == of else page_size)

    return IgnoringPageSize


def truncating_page_size(of: int) -> type[Tolerant]:
    """A container that checks only the lower half of the page size."""

    class TruncatingPageSize(Tolerant):
        def _seen(self, command: int, page_size: int) -> tuple[int, int]:
            return super()._seen(command, page_size & _LOW_HALF if command == of else page_size)

    return TruncatingPageSize


def taking_small_buffer(of: int) -> type[Tolerant]:
    """A container that accepts and fills a bitmap that is too small."""

    class TakingSmallBuffer(Tolerant):
        def _takes(self, command: int, room: int, least: int, pages: int) -> bool:
            return (command == of and 0 < room < least) or super()._takes(command, room, least, pages)

    return TakingSmallBuffer


def rounding_buffer_down(of: int) -> type[Tolerant]:
    """A container that accepts and fills a bitmap that lacks the word of the last pages."""

    class RoundingDown(Tolerant):
        def _takes(self, command: int, room: int, least: int, pages: int) -> bool:
            rounded = command == of and 0 < room < least and room >= pages // 64 * 8
            return rounded or super()._takes(command, room, least, pages)

    return RoundingDown


def taking_exact_buffer_only(of: int) -> type[Tolerant]:
    """A container that refuses a bitmap larger than needed."""

    class TakingExactBufferOnly(Tolerant):
        def _check_given(self, command: int, room: int, least: int) -> None:
            if command == of and room != least:
                raise Refusal(EINVAL)
            super()._check_given(command, room, least)

    return TakingExactBufferOnly
