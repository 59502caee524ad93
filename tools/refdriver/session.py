# SPDX-License-Identifier: GPL-2.0-only
"""One client from the first message to the last: each command, checked and carried out."""

from __future__ import annotations

from collections.abc import Callable
from errno import EINVAL, EOPNOTSUPP
from struct import Struct
from typing import Any, NamedTuple

from . import wire
from .connection import Breach, Connection, Message, close_all
from .description import region_info
from .device import IRQ_COUNT, REGION_COUNT, Device
from .negotiation import answer as greeting
from .negotiation import negotiate
from .refusal import Refusal


class _Answer(NamedTuple):
    """A reply: its body, a descriptor to go with it, and data that follow the body."""

    body: bytes
    fd: int | None = None
    data: bytes | memoryview = b""


_Handler = Callable[[bytes, tuple[int, ...]], _Answer]


class Session:
    """Serves one client on the device. Commands are carried out in the order in which they come.

    All happens on one thread: the device does what is due by itself between commands or while the client is silent,
    never while a command is being carried out. So a device that a command stops has stopped when the reply
    leaves.
    """

    def __init__(self, device: Device, connection: Connection) -> None:
        self._device = device
        self._connection = connection
        self._handlers: dict[int, _Handler] = {
            wire.DMA_MAP: self._dma_map,
            wire.DMA_UNMAP: self._dma_unmap,
            wire.DEVICE_GET_INFO: self._get_info,
            wire.DEVICE_GET_REGION_INFO: self._get_region_info,
            wire.DEVICE_GET_IRQ_INFO: self._get_irq_info,
            wire.DEVICE_SET_IRQS: self._set_irqs,
            wire.REGION_READ: self._region_read,
            wire.REGION_WRITE: self._region_write,
            wire.DEVICE_RESET: self._reset,
            wire.DIRTY_PAGES: self._dirty_pages,
        }

    def run(self) -> None:
        """Serve until the client leaves. Always ends by raising Gone or Breach."""
        self._greet()
        device, connection = self._device, self._connection
        while True:
            if device.restless:
                device.tick()
                if not connection.ready(1):
                    continue
            self._carry_out(connection.receive())

    def _greet(self) -> None:
        """The client's first command has to be VERSION; without an agreement there is nothing to serve."""
        message = self._connection.receive()
        close_all(message.fds)
        try:
            if message.command != wire.VERSION:
                raise Refusal(EINVAL)
            agreement = negotiate(message.body)
        except Refusal as refusal:
            self._connection.refuse(message, refusal.errno)
            raise Breach("no agreement on a version and capabilities") from refusal
        self._connection.peer_max_data = agreement.peer_max_data
        self._device.guest.dirty.page_size = agreement.page_size
        self._connection.reply(message, greeting(agreement.minor))

    def _carry_out(self, message: Message) -> None:
        wanted = not message.flags & wire.NO_REPLY
        try:
            handler = self._handlers.get(message.command)
            if handler is None:
                raise Refusal(EINVAL if message.command == wire.VERSION else EOPNOTSUPP)
            answer = handler(message.body, message.fds)
        except Refusal as refusal:
            if wanted:
                self._connection.refuse(message, refusal.errno)
        else:
            if wanted:
                self._connection.reply(message, *answer)
        finally:
            if message.fds:
                close_all(message.fds)

    # The device and its regions.

    def _get_info(self, body: bytes, fds: tuple[int, ...]) -> _Answer:
        argsz = _fields(wire.DEVICE_INFO, body)[0]
        _check_argsz(argsz, wire.DEVICE_INFO.size)
        flags = wire.DEVICE_RESETTABLE | wire.DEVICE_PCI
        return _Answer(wire.DEVICE_INFO.pack(wire.DEVICE_INFO.size, flags, REGION_COUNT, IRQ_COUNT))

    def _get_region_info(self, body: bytes, fds: tuple[int, ...]) -> _Answer:
        argsz, _, index, _, _, _ = _fields(wire.REGION_INFO, body)
        _check_argsz(argsz, wire.REGION_INFO.size)
        if index >= REGION_COUNT:
            raise Refusal(EINVAL)
        info, whole = region_info(self._device, index, argsz)
        migration = self._device.migration
        mappable = whole and self._device.regions.get(index) is migration and bool(migration.section.areas)
        return _Answer(info, migration.section.fd if mappable else None)

    def _region_read(self, body: bytes, fds: tuple[int, ...]) -> _Answer:
        if len(body) < 16:
            raise Refusal(EINVAL)
        request = body[:16]
        offset, index, count = wire.REGION_ACCESS.unpack(request)
        region = self._device.regions.get(index)
        if region is None or count > self._connection.peer_max_data or count > wire.MAX_DATA:
            raise Refusal(EINVAL)
        return _Answer(request, data=region.read(offset, count))

    def _region_write(self, body: bytes, fds: tuple[int, ...]) -> _Answer:
        offset, index, count = _fields(wire.REGION_ACCESS, body)
        data = memoryview(body)[16:]
        region = self._device.regions.get(index)
        if region is None or count != len(data) or count > wire.MAX_DATA:
            raise Refusal(EINVAL)
        written = region.write(offset, data)
        return _Answer(wire.REGION_ACCESS.pack(offset, index, written))

    def _reset(self, body: bytes, fds: tuple[int, ...]) -> _Answer:
        self._device.reset()
        return _Answer(b"")

    # Interrupts: the device has none.

    def _get_irq_info(self, body: bytes, fds: tuple[int, ...]) -> _Answer:
        argsz, _, index, _ = _fields(wire.IRQ_INFO, body)
        _check_argsz(argsz, wire.IRQ_INFO.size)
        if index >= IRQ_COUNT:
            raise Refusal(EINVAL)
        return _Answer(wire.IRQ_INFO.pack(wire.IRQ_INFO.size, 0, index, 0))

    def _set_irqs(self, body: bytes, fds: tuple[int, ...]) -> _Answer:
        argsz, _, index, _, count = _fields(wire.SET_IRQS, body)
        _check_argsz(argsz, wire.SET_IRQS.size)
        if index >= IRQ_COUNT or count:
            raise Refusal(EINVAL)
        return _Answer(b"")

    # Guest memory.

    def _dma_map(self, body: bytes, fds: tuple[int, ...]) -> _Answer:
        argsz, flags, offset, address, size = _fields(wire.MAP, body)
        _check_argsz(argsz, wire.MAP.size)
        self._device.guest.map(flags, offset, address, size, fds)
        return _Answer(b"")

    def _dma_unmap(self, body: bytes, fds: tuple[int, ...]) -> _Answer:
        argsz, flags, address, size = _fields(wire.UNMAP, body)
        _check_argsz(argsz, wire.UNMAP.size)
        guest = self._device.guest
        if flags == wire.UNMAP_GET_BITMAP:
            return self._unmap_with_bitmap(body, argsz, address, size)
        if flags == wire.UNMAP_ALL:
            if address or size:
                raise Refusal(EINVAL)
            size = guest.unmap_all()
        elif flags:
            raise Refusal(EINVAL)
        else:
            guest.check_unmap(address, size)
            guest.unmap(address, size)
        return _Answer(wire.UNMAP.pack(wire.UNMAP.size, flags, address, size))

    def _unmap_with_bitmap(self, body: bytes, argsz: int, address: int, size: int) -> _Answer:
        """The bitmap of the range, then unmapped (kabi v23:332-340)."""
        fixed = wire.UNMAP.size + wire.BITMAP.size
        page_size, bitmap_size = _fields(wire.BITMAP, body, wire.UNMAP.size)
        _check_argsz(argsz, fixed)
        guest = self._device.guest
        guest.dirty.check(address, size, page_size, bitmap_size, self._largest_bitmap)
        guest.check_unmap(address, size)
        needed = fixed + bitmap_size
        if argsz < needed:
            # No room for the reply: nothing is unmapped, and the size says so.
            head = wire.UNMAP.pack(needed, wire.UNMAP_GET_BITMAP, address, 0)
            return _Answer(head + wire.BITMAP.pack(page_size, bitmap_size))
        bitmap = guest.dirty.fetch(address, size, bitmap_size)
        guest.unmap(address, size)
        head = wire.UNMAP.pack(needed, wire.UNMAP_GET_BITMAP, address, size)
        return _Answer(head + wire.BITMAP.pack(page_size, bitmap_size) + bitmap)

    def _dirty_pages(self, body: bytes, fds: tuple[int, ...]) -> _Answer:
        """One operation at a time (kabi v23:385)."""
        argsz, flags = _fields(wire.DIRTY, body)
        _check_argsz(argsz, wire.DIRTY.size)
        dirty = self._device.guest.dirty
        if flags == wire.DIRTY_START:
            dirty.start()
        elif flags == wire.DIRTY_STOP:
            dirty.stop()
        elif flags == wire.DIRTY_GET:
            return self._dirty_bitmap(body, argsz)
        else:
            raise Refusal(EINVAL)
        return _Answer(b"")

    def _dirty_bitmap(self, body: bytes, argsz: int) -> _Answer:
        """kabi v23:372-383."""
        fixed = wire.DIRTY.size + wire.DIRTY_RANGE.size
        address, size, page_size, bitmap_size = _fields(wire.DIRTY_RANGE, body, wire.DIRTY.size)
        _check_argsz(argsz, fixed)
        guest = self._device.guest
        guest.dirty.check(address, size, page_size, bitmap_size, self._largest_bitmap)
        guest.check_whole_mappings(address, size)
        needed = fixed + bitmap_size
        head = wire.DIRTY.pack(needed, wire.DIRTY_GET)
        head += wire.DIRTY_RANGE.pack(address, size, page_size, bitmap_size)
        if argsz < needed:
            # No room for the reply: nothing is fetched, so nothing is lost.
            return _Answer(head)
        return _Answer(head + guest.dirty.fetch(address, size, bitmap_size))

    @property
    def _largest_bitmap(self) -> int:
        return min(self._connection.peer_max_data, wire.MAX_DATA)


def _fields(layout: Struct, body: bytes, offset: int = 0) -> tuple[Any, ...]:
    """A structure at some place of a body; EINVAL when the body ends before it does."""
    if len(body) < offset + layout.size:
        raise Refusal(EINVAL)
    return layout.unpack_from(body, offset)


def _check_argsz(argsz: int, least: int) -> None:
    """EINVAL when the caller has not even room for the fixed part."""
    if argsz < least:
        raise Refusal(EINVAL)
