# SPDX-License-Identifier: GPL-2.0-only
"""Guest memory as the device reaches it: mapped from the client's descriptors, or asked for by message."""

from __future__ import annotations

import mmap
import os
import stat
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from errno import EEXIST, EFAULT, EINVAL, EIO, ENOENT, ENOSPC

from ..options import Options
from ..refusal import Refusal
from ..socket import wire
from ..socket.connection import Breach, Connection
from .dirty import DirtyTracker
from .pins import Pin
from .ranges import EVERYWHERE

_PAGE = 4096
_MOST_MAPPINGS = 65535
#: The largest errno of Linux.
_MOST_ERRNO = 4095


class Mapping:
    """One range of IOVA space. ``content`` is None if the client keeps the memory to itself."""

    def __init__(self, address: int, size: int, flags: int, content: mmap.mmap | None, offset: int) -> None:
        self.address = address
        self.size = size
        self.writable = bool(flags & wire.MAP_WRITE)
        self._content = content
        self._offset = offset

    def write(self, at: int, data: bytes, peer: Connection) -> None:
        """Store ``data`` at offset ``at`` of the range; EFAULT or the client's own error if that fails."""
        if self._content is None:
            _ask_to_write(self.address + at, data, peer)
            return
        # If the file was truncated after it was mapped, a plain access would raise SIGBUS.
        if self._content.size() < self._offset + at + len(data):
            raise Refusal(EFAULT)
        self._content[at : at + len(data)] = data

    def close(self) -> None:
        """Let go of the client's memory."""
        if self._content is not None:
            self._content.close()


class GuestMemory:
    """The mappings of one client, and the device's writes through them."""

    def __init__(self, options: Options, tracker: type[DirtyTracker]) -> None:
        self.dirty = tracker(self.extents, options.dirty_scope)
        self._peer: Connection | None = None
        self._starts: list[int] = []
        self._mappings: dict[int, Mapping] = {}

    def attach(self, peer: Connection) -> None:
        """Serve a new client. Its mappings without a descriptor are reached by messages to ``peer``."""
        self._peer = peer

    def detach(self) -> None:
        """The client has gone: drop its mappings and end tracking."""
        self.unmap_all()
        self.dirty.stop()
        self._peer = None

    def map(self, flags: int, offset: int, address: int, size: int, fds: tuple[int, ...]) -> None:
        """Add a mapping; EEXIST if it overlaps another, EINVAL if it makes no sense."""
        check_pages(address, size)
        if not flags or flags & ~(wire.MAP_READ | wire.MAP_WRITE) or len(fds) > 1:
            raise Refusal(EINVAL)
        if next(self._meeting(address, size), None):
            raise Refusal(EEXIST)
        if len(self._starts) >= _MOST_MAPPINGS:
            raise Refusal(ENOSPC)
        content = _map_file(fds[0], flags, offset, size) if fds else None
        self._mappings[address] = Mapping(address, size, flags, content, offset)
        insort(self._starts, address)

    def check_unmap(self, address: int, size: int) -> None:
        """Refuse a range that is not exactly one mapping: ENOENT if it overlaps no mapping, EINVAL otherwise."""
        check_pages(address, size)
        mapping = next(self._meeting(address, size), None)
        if mapping is None:
            raise Refusal(ENOENT)
        if (mapping.address, mapping.size) != (address, size):
            raise Refusal(EINVAL)

    def unmap(self, address: int, size: int) -> None:
        """Remove a mapping that passed ``check_unmap``, each pin that overlaps it, and its dirty pages."""
        for pin in self.dirty.pins.meeting(address, size):
            self.dirty.unpin(pin)
        self._mappings.pop(address).close()
        del self._starts[bisect_left(self._starts, address)]
        self.dirty.forget(address, size)

    def unmap_all(self) -> int:
        """Remove every mapping; returns the number of bytes that were mapped."""
        total = 0
        for mapping in list(self._mappings.values()):
            total += mapping.size
            self.unmap(mapping.address, mapping.size)
        return total

    def pin(self, address: int, size: int) -> None:
        """Pin the pages of a range, which may span several adjacent mappings.

        EINVAL for a range that is not whole pages, EFAULT if nothing writable is mapped, ENOSPC above the limits.
        """
        check_pages(address, size)
        reached = address
        for mapping in self._meeting(address, size):
            if mapping.address > reached or not mapping.writable:
                break
            reached = mapping.address + mapping.size
        if reached < address + size:
            raise Refusal(EFAULT)
        self.dirty.pins.add(Pin(address, size))

    def unpin(self, address: int, size: int) -> None:
        """Unpin a range that was pinned as one; EINVAL for any other."""
        self.dirty.unpin(self.dirty.pins.find(address, size))

    def reset(self) -> None:
        """The device was reset: nothing is pinned. Mappings do not belong to the device and stay."""
        for pin in self.dirty.pins.meeting(*EVERYWHERE):
            self.dirty.unpin(pin)

    def write(self, address: int, data: bytes) -> None:
        """Write as the device does, across as many adjacent mappings as needed.

        Raises Refusal (EFAULT) where nothing writable is mapped; data written before that stays written
        and is tracked, as are pages that a failed write may have changed.
        """
        while data:
            mapping = self._at(address)
            if mapping is None or not mapping.writable or self._peer is None:
                raise Refusal(EFAULT)
            at = address - mapping.address
            piece = data[: mapping.size - at]
            try:
                mapping.write(at, piece, self._peer)
            finally:
                self.dirty.wrote(address, len(piece))
            address += len(piece)
            data = data[len(piece) :]

    def _at(self, address: int) -> Mapping | None:
        place = bisect_right(self._starts, address)
        if not place:
            return None
        mapping = self._mappings[self._starts[place - 1]]
        return mapping if address < mapping.address + mapping.size else None

    def _meeting(self, address: int, size: int) -> Iterator[Mapping]:
        """The mappings that overlap a range, in order."""
        first = self._at(address)
        if first is not None:
            yield first
        place = bisect_right(self._starts, address)
        while place < len(self._starts) and self._starts[place] < address + size:
            yield self._mappings[self._starts[place]]
            place += 1

    def extents(self, address: int, size: int) -> list[tuple[int, int]]:
        """Address and size of the mappings that overlap a range, in order."""
        return [(mapping.address, mapping.size) for mapping in self._meeting(address, size)]


def check_pages(address: int, size: int) -> None:
    """EINVAL for a range that is empty or not whole pages."""
    if not size or address % _PAGE or size % _PAGE or address + size > 1 << 64:
        raise Refusal(EINVAL)


def _map_file(fd: int, flags: int, offset: int, size: int) -> mmap.mmap:
    """Map part of a regular file (a memfd is one); the caller still has to close the descriptor."""
    protection = 0
    if flags & wire.MAP_READ:
        protection |= mmap.PROT_READ
    if flags & wire.MAP_WRITE:
        protection |= mmap.PROT_WRITE
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or offset % _PAGE or offset + size > status.st_size:
            raise Refusal(EINVAL)
        return mmap.mmap(fd, size, flags=mmap.MAP_SHARED, prot=protection, offset=offset)
    except OSError as error:
        raise Refusal(error.errno or EINVAL) from error


def _ask_to_write(address: int, data: bytes, peer: Connection) -> None:
    """Have the client write into memory that only it can reach, in pieces that it takes."""
    for start in range(0, len(data), peer.peer_max_data):
        piece = data[start : start + peer.peer_max_data]
        request = wire.DMA_ACCESS.pack(address + start, len(piece))
        answer = peer.ask(wire.DMA_WRITE, request + piece)
        if answer.flags & wire.ERROR:
            if answer.error > _MOST_ERRNO:
                raise Breach(f"the reply to a DMA write refuses with {answer.error}, which is not an errno")
            raise Refusal(answer.error or EIO)
        if answer.body != request:
            raise Breach("the reply to a DMA write is not about that write")
