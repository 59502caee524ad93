# SPDX-License-Identifier: GPL-2.0-only
"""What a kernel's IOMMU container does for its devices: mappings, dirty pages, and what it says of itself."""

from __future__ import annotations

from errno import EINVAL, ENOTTY

from . import wire
from .container_info import LARGEST_BITMAP, type1_info
from .dirty import bitmap_size
from .memory import GuestMemory
from .refusal import Refusal
from .requests import Answer, Handler, check_argsz, fields

_PAGE = 4096
#: A defect may accept larger bitmaps than there can be. Past this the reply has the words of the range only.
_LARGEST_REPLY = LARGEST_BITMAP + _PAGE
_ONE_FLAG = (wire.DIRTY_START, wire.DIRTY_STOP, wire.DIRTY_GET)
_FLAGS = wire.DIRTY_START | wire.DIRTY_STOP | wire.DIRTY_GET


class Container:
    """Carries out the commands that are about guest memory."""

    def __init__(self, guest: GuestMemory, defects: frozenset[str]) -> None:
        self._guest = guest
        self._dirty = guest.dirty
        self._defects = defects
        #: By command.
        self.handlers: dict[int, Handler] = {
            wire.DMA_MAP: self._dma_map,
            wire.DMA_UNMAP: self._dma_unmap,
            wire.DIRTY_PAGES: self._dirty_pages,
            wire.CONTAINER_GET_INFO: self._get_info,
        }

    def _get_info(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        return Answer(type1_info(body, self._dirty.page_size, self._defects))

    def _dma_map(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        argsz, flags, offset, address, size = fields(wire.MAP, body)
        check_argsz(argsz, wire.MAP.size)
        self._guest.map(flags, offset, address, size, fds)
        return Answer(b"")

    # Unmapping.

    def _dma_unmap(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        argsz, flags, address, size = fields(wire.UNMAP, body)
        check_argsz(argsz, wire.UNMAP.size)
        guest = self._guest
        if flags == wire.UNMAP_GET_BITMAP:
            return self._unmap_with_bitmap(body, argsz, address, size)
        if flags == wire.UNMAP_ALL:
            if address or size:
                raise Refusal(EINVAL)
            size = guest.unmap_all()
        elif flags:
            raise Refusal(EINVAL)
        else:
            if "unmap-plain-wants-40" in self._defects:
                check_argsz(argsz, wire.UNMAP.size + wire.BITMAP.size)
            guest.check_unmap(address, size)
            guest.unmap(address, size)
            if "unmap-size-kept-zero" in self._defects:
                size = 0
        return Answer(wire.UNMAP.pack(wire.UNMAP.size, flags, address, size))

    def _unmap_with_bitmap(self, body: bytes, argsz: int, address: int, size: int) -> Answer:
        """The bitmap of the range, then unmapped (kabi v23:332-340)."""
        fixed = wire.UNMAP.size + wire.BITMAP.size
        page_size, room = fields(wire.BITMAP, body, wire.UNMAP.size)
        try:
            self._check_unmap_with_bitmap(argsz, address, size, page_size, room)
        except Refusal:
            if "unmap-refused-clears" in self._defects:
                self._dirty.forget(address, size)
            raise
        needed = fixed + room
        if argsz < needed and "unmap-short-argsz-accepted" not in self._defects:
            # No room for the reply: nothing is unmapped, and the size says so.
            head = wire.UNMAP.pack(needed, wire.UNMAP_GET_BITMAP, address, 0)
            return Answer(head + wire.BITMAP.pack(page_size, room))
        if "unmap-before-bitmap" in self._defects:
            self._guest.unmap(address, size)
            bitmap = self._dirty.get_unmapped(address, size, room)
        else:
            bitmap = self._dirty.get_unmapped(address, size, room)
            if "unmap-reports-only" in self._defects:
                self._dirty.forget(address, size)
            else:
                self._guest.unmap(address, size)
        if "unmap-forgets-neighbours" in self._defects:
            self._dirty.forget_all()
        head = wire.UNMAP.pack(needed, wire.UNMAP_GET_BITMAP, address, size)
        return Answer(head + wire.BITMAP.pack(page_size, room), data=bitmap)

    def _check_unmap_with_bitmap(self, argsz: int, address: int, size: int, page_size: int, room: int) -> None:
        if "unmap-short-argsz-accepted" not in self._defects:
            check_argsz(argsz, wire.UNMAP.size + wire.BITMAP.size)
        if not self._dirty.tracking:
            raise Refusal(EINVAL)
        if page_size != self._dirty.page_size and "unmap-page-size-ignored" not in self._defects:
            raise Refusal(EINVAL)
        self._guest.check_unmap(address, size)
        least = bitmap_size(size // self._dirty.page_size)
        if "unmap-small-buffer-accepted" in self._defects:
            least = min(least, 1)
        if not least <= room <= LARGEST_BITMAP:
            raise Refusal(EINVAL)

    # Dirty pages.

    def _dirty_pages(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        """One operation at a time (kabi v23:385)."""
        argsz, flags = fields(wire.DIRTY, body)
        if "dirty-argsz-ignored" not in self._defects:
            check_argsz(argsz, wire.DIRTY.size)
        operation = self._operation(flags)
        if operation == wire.DIRTY_GET:
            return self._get_bitmap(body, argsz)
        if "dirty-argsz-exact-only" in self._defects and argsz > wire.DIRTY.size:
            raise Refusal(EINVAL)
        if operation == wire.DIRTY_START:
            if "tracking-announced-only" in self._defects:
                raise Refusal(ENOTTY)
            self._dirty.start()
        elif operation == wire.DIRTY_STOP:
            self._dirty.stop()
        return Answer(b"")

    def _operation(self, flags: int) -> int:
        """The one flag that is set; 0 for nothing to do, which only a defect makes of anything."""
        if "flags-unknown-ignored" in self._defects and flags & ~_FLAGS:
            flags &= _FLAGS
            if not flags:
                return 0
        if "flags-two-accepted" in self._defects and not flags & ~_FLAGS:
            flags &= -flags
        if "flags-none-accepted" in self._defects and not flags:
            return 0
        if flags not in _ONE_FLAG:
            raise Refusal(EINVAL)
        if "tracking-flags-renumbered" in self._defects and flags != wire.DIRTY_GET:
            flags ^= wire.DIRTY_START | wire.DIRTY_STOP
        return flags

    def _get_bitmap(self, body: bytes, argsz: int) -> Answer:
        """kabi v23:372-383. The range may begin and end anywhere, in a mapping or where nothing is mapped."""
        fixed = wire.DIRTY.size + wire.DIRTY_RANGE.size
        address, size, page_size, room = fields(wire.DIRTY_RANGE, body, wire.DIRTY.size)
        if "bitmap-short-argsz-accepted" not in self._defects:
            check_argsz(argsz, fixed)
        if not self._dirty.tracking and "bitmap-while-stopped" not in self._defects:
            raise Refusal(EINVAL)
        smallest = self._dirty.page_size
        unit = self._bytes_per_bit(page_size)
        if not size or address % smallest or size % smallest or address + size > 1 << 64:
            raise Refusal(EINVAL)
        least = bitmap_size(-(-size // unit))
        if not self._takes_room(room, least):
            if "bitmap-refused-clears" in self._defects:
                self._dirty.forget(address, size)
            raise Refusal(EINVAL)
        given = room if room <= _LARGEST_REPLY else least
        needed = fixed + given
        if "dirty-argsz-exact-only" in self._defects and argsz > needed:
            raise Refusal(EINVAL)
        head = wire.DIRTY.pack(needed, wire.DIRTY_GET) + wire.DIRTY_RANGE.pack(address, size, page_size, room)
        if argsz < needed and "bitmap-short-argsz-accepted" not in self._defects:
            # No room for the reply: nothing is fetched, so nothing is lost.
            return Answer(head)
        return Answer(head, data=self._dirty.get(address, size, given, unit))

    def _bytes_per_bit(self, page_size: int) -> int:
        """Only the smallest page size is known (kabi v23:376); EINVAL for any other."""
        smallest = self._dirty.page_size
        if page_size == smallest or "bitmap-page-size-ignored" in self._defects:
            return smallest
        if "bitmap-any-page-size" in self._defects and page_size >= _PAGE and not page_size & page_size - 1:
            return page_size
        raise Refusal(EINVAL)

    def _takes_room(self, room: int, least: int) -> bool:
        """Whether a bitmap of ``room`` bytes has room for the range, and is no larger than can be."""
        defects = self._defects
        if "bitmap-size-unchecked" in defects:
            return True
        if room < least:
            return room > 0 and "bitmap-small-buffer-accepted" in defects
        if room > LARGEST_BITMAP:
            return "bitmap-above-largest-accepted" in defects
        if room == LARGEST_BITMAP and "bitmap-largest-refused" in defects:
            return False
        return room == least or "bitmap-exact-buffer-only" not in defects
