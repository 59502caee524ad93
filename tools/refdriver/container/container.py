# SPDX-License-Identifier: GPL-2.0-only
"""The commands about guest memory: mappings, dirty pages, and information on the container."""

from __future__ import annotations

from errno import EBUSY, EINVAL

from ..options import Options
from ..refusal import Refusal
from ..socket import wire
from ..socket.requests import Answer, Handler, check_argsz, fields
from .container_info import Information
from .dirty import bitmap_size
from .memory import GuestMemory, check_pages
from .ranges import check_mapped, check_usable, check_whole

#: Bytes of the requests for a bitmap, and of a reply before its bitmap.
GET_FIXED = wire.DIRTY.size + wire.DIRTY_RANGE.size
UNMAP_FIXED = wire.UNMAP.size + wire.BITMAP.size


class Container:
    """Executes the commands."""

    def __init__(self, options: Options, guest: GuestMemory, information: Information) -> None:
        self._options = options
        self._guest = guest
        self._dirty = guest.dirty
        self._information = information
        #: By command.
        self.handlers: dict[int, Handler] = {
            wire.DMA_MAP: self._dma_map,
            wire.DMA_UNMAP: self._dma_unmap,
            wire.DIRTY_PAGES: self._dirty_pages,
            wire.CONTAINER_GET_INFO: self._get_info,
        }

    def _get_info(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        return Answer(self._information.answer(body))

    def _dma_map(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        argsz, flags, offset, address, size = fields(wire.MAP, body)
        check_argsz(argsz, wire.MAP.size)
        check_usable(self._options.iova, address, size)
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
            unmapped = self._check_unmap(address, size)
            self._unmap(address, size)
            size = unmapped
        return Answer(wire.UNMAP.pack(wire.UNMAP.size, flags, address, size))

    def _unmap_with_bitmap(self, body: bytes, argsz: int, address: int, size: int) -> Answer:
        """The bitmap of the range, which is then unmapped (kabi v23:332-340)."""
        page_size, room = fields(wire.BITMAP, body, wire.UNMAP.size)
        check_argsz(argsz, UNMAP_FIXED)
        if not self._dirty.tracking or page_size != self._dirty.page_size:
            raise Refusal(EINVAL)
        unmapped = self._check_unmap(address, size)
        self._check_room(size, room)
        needed = UNMAP_FIXED + room
        if argsz < needed:
            # No room for the reply: nothing is unmapped, and the size says so.
            head = wire.UNMAP.pack(needed, wire.UNMAP_GET_BITMAP, address, 0)
            return Answer(head + wire.BITMAP.pack(page_size, room))
        bitmap = self._dirty.get_unmapped(address, size, room)
        self._unmap(address, size)
        head = wire.UNMAP.pack(needed, wire.UNMAP_GET_BITMAP, address, unmapped)
        return Answer(head + wire.BITMAP.pack(page_size, room), data=bitmap.content)

    def _check_unmap(self, address: int, size: int) -> int:
        """The number of bytes that unmapping a range unmaps. Refused if it cuts a mapping or is not exactly one."""
        if self._options.unmapping == "exact":
            self._guest.check_unmap(address, size)
            return size
        check_pages(address, size)
        extents = self._guest.extents(address, size)
        check_whole(extents, address, size)
        return sum(length for _, length in extents)

    def _unmap(self, address: int, size: int) -> None:
        """Unmap every mapping of a range."""
        for extent in self._guest.extents(address, size):
            self._guest.unmap(*extent)

    # Dirty pages.

    def _dirty_pages(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        """One operation at a time (kabi v23:385)."""
        argsz, flags = fields(wire.DIRTY, body)
        return self._track(argsz, flags, body)

    def _track(self, argsz: int, flags: int, body: bytes) -> Answer:
        check_argsz(argsz, wire.DIRTY.size)
        if flags == wire.DIRTY_GET:
            return self._get_bitmap(body, argsz)
        if flags not in (wire.DIRTY_START, wire.DIRTY_STOP):
            raise Refusal(EINVAL)
        if self._options.restart == "refuse" and self._dirty.tracking == (flags == wire.DIRTY_START):
            raise Refusal(EBUSY)
        if flags == wire.DIRTY_START:
            self._dirty.start()
        else:
            self._dirty.stop()
        return Answer(b"")

    def _get_bitmap(self, body: bytes, argsz: int) -> Answer:
        """kabi v23:372-383."""
        address, size, page_size, room = fields(wire.DIRTY_RANGE, body, wire.DIRTY.size)
        check_argsz(argsz, GET_FIXED)
        self._check_tracking()
        # Only the smallest page size is supported (kabi v23:376).
        if page_size != self._dirty.page_size:
            raise Refusal(EINVAL)
        if not size or address % page_size or size % page_size or address + size > 1 << 64:
            raise Refusal(EINVAL)
        self._check_range(address, size)
        self._check_room(size, room)
        needed = GET_FIXED + room
        head = wire.DIRTY.pack(needed, wire.DIRTY_GET) + wire.DIRTY_RANGE.pack(address, size, page_size, room)
        if argsz < needed:
            # No room for the reply: nothing is fetched, so nothing is lost.
            return Answer(head)
        return Answer(head, data=self._dirty.get(address, size, room).content)

    def _check_range(self, address: int, size: int) -> None:
        """Refuse a range that cuts a mapping or has holes, if this container does."""
        if self._options.ranges != "any":
            extents = self._guest.extents(address, size)
            check_whole(extents, address, size)
            if self._options.ranges == "mapped":
                check_mapped(extents, size)

    def _check_room(self, size: int, room: int) -> None:
        """Refuse a bitmap of ``room`` bytes if it is too small for the range or above the largest."""
        if not bitmap_size(size // self._dirty.page_size) <= room <= self._options.largest_bitmap:
            raise Refusal(EINVAL)

    def _check_tracking(self) -> None:
        """A bitmap is given only while pages are tracked."""
        if not self._dirty.tracking:
            raise Refusal(EINVAL)
