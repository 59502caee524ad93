# SPDX-License-Identifier: GPL-2.0-only
"""What a kernel's IOMMU container does for its devices: mappings, dirty pages, and what it says of itself."""

from __future__ import annotations

from errno import EINVAL

from . import wire
from .container_info import LARGEST_BITMAP, type1_info
from .dirty import bitmap_size
from .memory import GuestMemory
from .refusal import Refusal
from .requests import Answer, Handler, check_argsz, fields

#: Bytes of the requests for a bitmap, and of a reply before its bitmap.
GET_FIXED = wire.DIRTY.size + wire.DIRTY_RANGE.size
UNMAP_FIXED = wire.UNMAP.size + wire.BITMAP.size


class Container:
    """Carries out the commands that are about guest memory."""

    def __init__(self, guest: GuestMemory) -> None:
        self._guest = guest
        self._dirty = guest.dirty
        #: By command.
        self.handlers: dict[int, Handler] = {
            wire.DMA_MAP: self._dma_map,
            wire.DMA_UNMAP: self._dma_unmap,
            wire.DIRTY_PAGES: self._dirty_pages,
            wire.CONTAINER_GET_INFO: self._get_info,
        }

    def _get_info(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        return Answer(type1_info(body, self._dirty.page_size))

    def _dma_map(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        argsz, flags, offset, address, size = fields(wire.MAP, body)
        check_argsz(argsz, wire.MAP.size)
        self._guest.map(flags, offset, address, size, fds)
        return Answer(b"")

    # Unmapping.

    def _dma_unmap(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        argsz, flags, address, size = fields(wire.UNMAP, body)
        check_argsz(argsz, wire.UNMAP.size)
        if flags == wire.UNMAP_GET_BITMAP:
            return self._unmap_with_bitmap(body, argsz, address, size)
        if flags == wire.UNMAP_ALL:
            if address or size:
                raise Refusal(EINVAL)
            size = self._guest.unmap_all()
        elif flags:
            raise Refusal(EINVAL)
        else:
            self._guest.check_unmap(address, size)
            self._guest.unmap(address, size)
        return Answer(wire.UNMAP.pack(wire.UNMAP.size, flags, address, size))

    def _unmap_with_bitmap(self, body: bytes, argsz: int, address: int, size: int) -> Answer:
        """The bitmap of the range, then unmapped (kabi v23:332-340)."""
        page_size, room = fields(wire.BITMAP, body, wire.UNMAP.size)
        check_argsz(argsz, UNMAP_FIXED)
        if not self._dirty.tracking or page_size != self._dirty.page_size:
            raise Refusal(EINVAL)
        self._guest.check_unmap(address, size)
        if not bitmap_size(size // page_size) <= room <= LARGEST_BITMAP:
            raise Refusal(EINVAL)
        needed = UNMAP_FIXED + room
        if argsz < needed:
            # No room for the reply: nothing is unmapped, and the size says so.
            head = wire.UNMAP.pack(needed, wire.UNMAP_GET_BITMAP, address, 0)
            return Answer(head + wire.BITMAP.pack(page_size, room))
        bitmap = self._dirty.get_unmapped(address, size, room)
        self._unmap_told(address, size)
        head = wire.UNMAP.pack(needed, wire.UNMAP_GET_BITMAP, address, size)
        return Answer(head + wire.BITMAP.pack(page_size, room), data=bitmap.content)

    def _unmap_told(self, address: int, size: int) -> None:
        """Unmap a range whose bitmap was made."""
        self._guest.unmap(address, size)

    # Dirty pages.

    def _dirty_pages(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        """One operation at a time (kabi v23:385)."""
        argsz, flags = fields(wire.DIRTY, body)
        check_argsz(argsz, wire.DIRTY.size)
        if flags == wire.DIRTY_GET:
            return self._get_bitmap(body, argsz)
        if flags == wire.DIRTY_START:
            self._dirty.start()
        elif flags == wire.DIRTY_STOP:
            self._dirty.stop()
        else:
            raise Refusal(EINVAL)
        return Answer(b"")

    def _get_bitmap(self, body: bytes, argsz: int) -> Answer:
        """kabi v23:372-383. The range may begin and end anywhere, in a mapping or where nothing is mapped."""
        address, size, page_size, room = fields(wire.DIRTY_RANGE, body, wire.DIRTY.size)
        check_argsz(argsz, GET_FIXED)
        self._check_tracking()
        # Only the smallest page size is known (kabi v23:376).
        if page_size != self._dirty.page_size:
            raise Refusal(EINVAL)
        if not size or address % page_size or size % page_size or address + size > 1 << 64:
            raise Refusal(EINVAL)
        if not bitmap_size(size // page_size) <= room <= LARGEST_BITMAP:
            raise Refusal(EINVAL)
        needed = GET_FIXED + room
        head = wire.DIRTY.pack(needed, wire.DIRTY_GET) + wire.DIRTY_RANGE.pack(address, size, page_size, room)
        if argsz < needed:
            # No room for the reply: nothing is fetched, so nothing is lost.
            return Answer(head)
        return Answer(head, data=self._dirty.get(address, size, room).content)

    def _check_tracking(self) -> None:
        """A bitmap can be had only while pages are tracked."""
        if not self._dirty.tracking:
            raise Refusal(EINVAL)
