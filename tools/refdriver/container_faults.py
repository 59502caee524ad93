# SPDX-License-Identifier: GPL-2.0-only
"""A container that is wrong in the ways that defects.py names.

What it takes for right it makes so before the container sees the request; what it wrongly refuses it refuses first;
and what it does although it refuses it does after the refusal.
"""

from __future__ import annotations

from contextlib import suppress
from errno import EINVAL, ENOTTY
from typing import NamedTuple

from . import wire
from .container import GET_FIXED, UNMAP_FIXED, Container
from .container_info import LARGEST_BITMAP
from .dirty import bitmap_size
from .dirty_faults import FaultyTracker
from .info_faults import faulty_info
from .manner import Manner
from .memory import GuestMemory
from .pages import Bitmap
from .refusal import Refusal
from .requests import Answer, check_argsz, fields

_PAGE = 4096
#: Larger bitmaps than there can be may be accepted. Past this the reply has the words of the range only.
_LARGEST_REPLY = LARGEST_BITMAP + _PAGE
_ONE_FLAG = (wire.DIRTY_START, wire.DIRTY_STOP, wire.DIRTY_GET)
_FLAGS = wire.DIRTY_START | wire.DIRTY_STOP | wire.DIRTY_GET
_UNMAP_FLAGS = wire.UNMAP_GET_BITMAP | wire.UNMAP_ALL
_LOW_HALF, _ENOUGH = 2**32 - 1, 2**32 - 1
#: argsz from which on a signed number is negative.
_NEGATIVE = 1 << 15
#: Bytes of both requests as a user of the kernel has them, without the address of the bitmap.
_WITHOUT_ADDRESS = 40


def make_container(guest: GuestMemory, defects: frozenset[str], manner: Manner) -> Container:
    """The container of one client."""
    if isinstance(guest.dirty, FaultyTracker):
        return FaultyContainer(guest, guest.dirty, defects, manner)
    return Container(guest, manner)


class Asked(NamedTuple):
    """A request for a bitmap: what the container is to see of it, and what is made of its answer."""

    page_size: int
    room: int
    #: Bytes per bit as the container knows them and as they are given, and bytes given.
    smallest: int
    unit: int
    given: int

    def cut(self, bitmap: bytes | memoryview) -> bytes | memoryview:
        """The bitmap as it is given."""
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


class FaultyContainer(Container):
    """Carries out the same commands."""

    def __init__(self, guest: GuestMemory, record: FaultyTracker, defects: frozenset[str], manner: Manner) -> None:
        super().__init__(guest, manner)
        self._record = record
        self._defects = defects

    def _get_info(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        return Answer(faulty_info(body, self._dirty.page_size, self._dirty.tracking, self._defects))

    # Unmapping.

    def _dma_unmap(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        argsz, flags, address, size = fields(wire.UNMAP, body)
        if not flags and "unmap-plain-wants-40" in self._defects:
            check_argsz(argsz, UNMAP_FIXED)
        if not flags and "unmap-tracked-refused" in self._defects and self._dirty.tracking:
            raise Refusal(EINVAL)
        if "unmap-unknown-flags-ignored" in self._defects:
            body = wire.UNMAP.pack(argsz, flags & _UNMAP_FLAGS, address, size) + body[wire.UNMAP.size :]
        answer = super()._dma_unmap(body, fds)
        if not flags and "unmap-size-kept-zero" in self._defects:
            return Answer(wire.UNMAP.pack(wire.UNMAP.size, flags, address, 0))
        return answer

    def _unmap_with_bitmap(self, body: bytes, argsz: int, address: int, size: int) -> Answer:
        page_size, room = fields(wire.BITMAP, body, wire.UNMAP.size)
        asked = self._pass_off("unmap", size, page_size, room)
        passed = self._pass_argsz("unmap", argsz, UNMAP_FIXED + asked.given)
        request = wire.UNMAP.pack(passed, wire.UNMAP_GET_BITMAP, address, size)
        request += wire.BITMAP.pack(asked.page_size, asked.room)
        if "unmap-short-argsz-unmaps" in self._defects and argsz < min(UNMAP_FIXED + room, _ENOUGH):
            self._unmap_anyway(address, size)
        try:
            answer = super()._unmap_with_bitmap(request, passed, address, size)
        except Refusal:
            self._refused_unmapping(address, size, page_size, room)
            raise
        _, flags, _, unmapped = wire.UNMAP.unpack_from(answer.body)
        head = wire.UNMAP.pack(UNMAP_FIXED + asked.given, flags, address, unmapped) + wire.BITMAP.pack(page_size, room)
        return Answer(head, data=asked.cut(answer.data) if unmapped else b"")

    def _unmap_told(self, address: int, size: int) -> None:
        if "unmap-reports-only" in self._defects:
            self._record.drop(address, size)
        else:
            super()._unmap_told(address, size)
        if "unmap-forgets-neighbours" in self._defects:
            self._record.drop(0, 1 << 64)

    def _refused_unmapping(self, address: int, size: int, page_size: int, room: int) -> None:
        """What is done all the same."""
        another_page_size = page_size != self._dirty.page_size
        small = room < bitmap_size(size // self._dirty.page_size)
        if "unmap-refused-clears" in self._defects:
            self._record.drop(address, size)
        if (another_page_size and "unmap-page-size-refused-unmaps" in self._defects) or (
            small and "unmap-small-refused-unmaps" in self._defects
        ):
            self._unmap_anyway(address, size)

    def _unmap_anyway(self, address: int, size: int) -> None:
        with suppress(Refusal):
            self._guest.check_unmap(address, size)
            self._guest.unmap(address, size)

    # Dirty pages: argsz and flags.

    def _dirty_pages(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        argsz, flags = fields(wire.DIRTY, body)
        self._check_long_argsz(body, argsz, flags)
        passed = self._pass_flags(flags)
        if not passed and (flags or "flags-none-accepted" in self._defects):
            return Answer(b"")
        if passed == wire.DIRTY_START and "tracking-announced-only" in self._defects:
            raise Refusal(ENOTTY)
        unchecked = "dirty-argsz-stop-unchecked" in self._defects and flags == wire.DIRTY_STOP
        if unchecked or "dirty-argsz-ignored" in self._defects:
            argsz = max(argsz, wire.DIRTY.size)
        try:
            return super()._dirty_pages(wire.DIRTY.pack(argsz, passed) + body[wire.DIRTY.size :], fds)
        except Refusal:
            self._refused_operation(argsz, flags)
            raise

    def _check_long_argsz(self, body: bytes, argsz: int, flags: int) -> None:
        """Refuse an argsz that is longer than what was thought of."""
        needed = wire.DIRTY.size
        if flags == wire.DIRTY_GET:
            needed = GET_FIXED + min(fields(wire.DIRTY_RANGE, body, wire.DIRTY.size)[3], LARGEST_BITMAP)
        if argsz > needed and "dirty-argsz-exact-only" in self._defects:
            raise Refusal(EINVAL)
        if argsz >= _NEGATIVE and flags != wire.DIRTY_GET and "dirty-argsz-signed" in self._defects:
            raise Refusal(EINVAL)

    def _pass_flags(self, flags: int) -> int:
        """What flags pass for; 0, where there are any, for nothing to do."""
        if "flags-unknown-ignored" in self._defects:
            flags &= _FLAGS
        if "flags-upper-half-ignored" in self._defects and flags & _FLAGS:
            flags &= 0xFFFF
        if "flags-two-accepted" in self._defects and not flags & ~_FLAGS:
            flags &= -flags
        if "tracking-flags-renumbered" in self._defects and flags in (wire.DIRTY_START, wire.DIRTY_STOP):
            flags ^= wire.DIRTY_START | wire.DIRTY_STOP
        return flags

    def _refused_operation(self, argsz: int, flags: int) -> None:
        """START or STOP, all the same."""
        if (flags not in _ONE_FLAG and "flags-refused-but-applied" in self._defects) or (
            argsz < wire.DIRTY.size and "dirty-argsz-refused-but-applied" in self._defects
        ):
            if flags & wire.DIRTY_STOP:
                self._dirty.stop()
            elif flags & wire.DIRTY_START:
                self._dirty.start()

    # Dirty pages: the bitmap of a range.

    def _check_tracking(self) -> None:
        if "bitmap-while-stopped" in self._defects:
            return
        if "bitmap-after-stop" not in self._defects or not self._record.has_ended:
            super()._check_tracking()

    def _get_bitmap(self, body: bytes, argsz: int) -> Answer:
        address, size, page_size, room = fields(wire.DIRTY_RANGE, body, wire.DIRTY.size)
        asked = self._pass_off("bitmap", size, page_size, room)
        passed = self._pass_argsz("bitmap", argsz, GET_FIXED + asked.given)
        request = wire.DIRTY.pack(passed, wire.DIRTY_GET)
        request += wire.DIRTY_RANGE.pack(address, size, asked.page_size, asked.room)
        try:
            answer = super()._get_bitmap(request, passed)
        except Refusal:
            self._refused_bitmap(address, size, page_size, room)
            raise
        head = wire.DIRTY.pack(GET_FIXED + asked.given, wire.DIRTY_GET)
        head += wire.DIRTY_RANGE.pack(address, size, page_size, room)
        return Answer(head, data=asked.cut(answer.data) if len(answer.data) else b"")

    def _refused_bitmap(self, address: int, size: int, page_size: int, room: int) -> None:
        """What is forgotten or made up all the same."""
        if address + size > 1 << 64:
            if "bitmap-wrap-clears" in self._defects:
                self._record.drop(0, 1 << 64)
            return
        if page_size != self._dirty.page_size:
            if "bitmap-page-size-refused-clears" in self._defects:
                self._record.drop(address, size)
        elif not bitmap_size(size // page_size) <= room <= LARGEST_BITMAP:
            if "bitmap-refused-clears" in self._defects:
                self._record.drop(address, size)
            if "bitmap-refused-dirties" in self._defects:
                self._record.stain(address, size)

    # What both requests for a bitmap have in common. The names of their defects begin with ``kind``.

    def _pass_argsz(self, kind: str, argsz: int, needed: int) -> int:
        if f"{kind}-short-argsz-accepted" in self._defects:
            return _ENOUGH
        if f"{kind}-argsz-40-accepted" in self._defects and argsz >= _WITHOUT_ADDRESS:
            return _ENOUGH
        return _ENOUGH if argsz >= min(needed, _ENOUGH) else argsz

    def _pass_off(self, kind: str, size: int, page_size: int, room: int) -> Asked:
        """What a page size, and memory for a bitmap, pass for. EINVAL for what is wrongly refused."""
        smallest = unit = self._dirty.page_size
        seen = page_size
        if f"{kind}-page-size-ignored" in self._defects:
            seen = smallest
        elif f"{kind}-any-page-size" in self._defects and page_size >= _PAGE and not page_size & page_size - 1:
            seen, unit = smallest, page_size
        elif f"{kind}-page-size-truncated" in self._defects:
            seen = page_size & _LOW_HALF
        least, whole = bitmap_size(-(-size // unit)), bitmap_size(size // smallest)
        given = room
        if (room != least and f"{kind}-exact-buffer-only" in self._defects) or (
            room == LARGEST_BITMAP and f"{kind}-largest-refused" in self._defects
        ):
            raise Refusal(EINVAL)
        if self._takes_room(kind, room, least, size // unit):
            given = room if room <= _LARGEST_REPLY else least
            return Asked(seen, whole, smallest, unit, given)
        return Asked(seen, whole if unit != smallest and given >= least else given, smallest, unit, given)

    def _takes_room(self, kind: str, room: int, least: int, pages: int) -> bool:
        """Whether memory of the wrong size passes."""
        if f"{kind}-size-unchecked" in self._defects:
            return True
        if room < least:
            few = room >= pages // 64 * 8 and f"{kind}-buffer-rounded-down" in self._defects
            return room > 0 and (few or f"{kind}-small-buffer-accepted" in self._defects)
        return room > LARGEST_BITMAP and f"{kind}-above-largest-accepted" in self._defects
