# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's requests carried as vfio-user messages.

Structures are sent as their caller filled them, argsz and flags included, so that a wrong one is refused by
the server and not here. Two things cannot be sent as they are. Pointers: the vaddr of a mapping becomes a
descriptor and an offset, and the bitmap comes back in the reply. And if that bitmap is part of the
reply, argsz must cover it: an argsz that is enough for the kernel becomes one that is enough here; one that
is too small is sent as it is, and is too small here as well.

Eventfds are sent along with the message, up to the server's limit: a request with more becomes several requests, and
ends at the first that is refused.

The protocol has no message for VFIO_IOMMU_GET_INFO. A server may offer one of ours in its VERSION: the argument is sent
as it is. Information of any kind that is longer than argsz is copied to the argument as far as there is room.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Final

from ...common.words import counted
from ...uapi.type1 import VFIO_IOMMU_DIRTY_PAGES, VFIO_IOMMU_GET_INFO, VFIO_IOMMU_MAP_DMA, VFIO_IOMMU_UNMAP_DMA
from ...uapi.vfio import (
    VFIO_DEVICE_GET_INFO,
    VFIO_DEVICE_GET_IRQ_INFO,
    VFIO_DEVICE_GET_REGION_INFO,
    VFIO_DEVICE_RESET,
    VFIO_DEVICE_SET_IRQS,
    ffi,
)
from .. import libc
from ..base import Argument, Memory, Outcome, Target, argument_view, failure, success
from ..regions import Placement, placement
from .connection import MAX_DATA, Connection, close_all
from .dma import DmaTable, Mapping
from .wire import (
    BITMAP,
    CONTAINER_INFO_ROOM,
    DEVICE_INFO_SIZE,
    DIRTY_FLAG_GET,
    DIRTY_PAGES,
    DIRTY_RANGE,
    DMA_MAP,
    DMA_UNMAP,
    IRQ_FLAG_EVENTFD,
    IRQ_INFO_SIZE,
    REGION_INFO_SIZE,
    SET_IRQS,
    UNMAP_FLAG_ALL,
    UNMAP_FLAG_BITMAP,
    Command,
    Peer,
    describe,
)

#: The most bytes of information with its capabilities.
_LARGEST_INFO: Final = 1 << 20

#: Bytes of information that are accepted even if argsz allows less.
_INFO_ROOM: Final = 4096

#: The largest dirty bitmap that is accepted, in bytes: one step more than Linux's container, to see it refused.
_LARGEST_BITMAP: Final = (1 << 28) + 4096

#: Linux passes no more descriptors with one message.
_MOST_DESCRIPTORS: Final = 253

#: Sizes of the kernel's structures with a struct vfio_bitmap in them.
_KERNEL_GET: Final = ffi.sizeof("struct vfio_iommu_type1_dirty_bitmap") + ffi.sizeof(
    "struct vfio_iommu_type1_dirty_bitmap_get"
)
_KERNEL_UNMAP: Final = ffi.sizeof("struct vfio_iommu_type1_dma_unmap") + ffi.sizeof("struct vfio_bitmap")
_POINTER: Final = 8


class RegionFiles:
    """Where each region is, and the descriptor through which it can be mapped."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Placement, int]] = {}

    def put(self, index: int, where: Placement, descriptor: int) -> None:
        """Note the server's last answer on a region; takes ownership of the descriptor.

        An answer without one (-1) removes none: it comes only with the whole information.
        """
        if descriptor < 0:
            _, descriptor = self._known.pop(index, (where, -1))
        self._drop(index)
        self._known[index] = where, descriptor

    def get(self, index: int) -> tuple[Placement, int] | None:
        """Placement and descriptor (-1: none) of a region; None if it was never queried."""
        return self._known.get(index)

    def clear(self) -> None:
        """Forget all, and close the descriptors."""
        for index in list(self._known):
            self._drop(index)

    def _drop(self, index: int) -> None:
        _, descriptor = self._known.pop(index, (None, -1))
        if descriptor >= 0:
            os.close(descriptor)


class Ioctls:
    """Issues requests over one connection."""

    def __init__(
        self,
        connection: Connection,
        regions: RegionFiles,
        dma: DmaTable,
        find_memory: Callable[[int, int], Memory | None],
        server: Peer,
    ) -> None:
        self._connection = connection
        self._regions = regions
        self._dma = dma
        self._find_memory = find_memory
        self._most_descriptors = min(server.max_msg_fds, _MOST_DESCRIPTORS)
        # A server that gives the container's information states its largest bitmap there.
        self._most_argsz = 2**32 - 1 if server.container_info else largest_argsz(server)
        self._handlers: dict[tuple[Target, int], Callable[[memoryview], Outcome]] = {
            (Target.DEVICE, VFIO_DEVICE_GET_INFO): self._device_info,
            (Target.DEVICE, VFIO_DEVICE_GET_REGION_INFO): self._region_info,
            (Target.DEVICE, VFIO_DEVICE_GET_IRQ_INFO): self._irq_info,
            (Target.DEVICE, VFIO_DEVICE_SET_IRQS): self._set_irqs,
            (Target.CONTAINER, VFIO_IOMMU_MAP_DMA): self._map_dma,
            (Target.CONTAINER, VFIO_IOMMU_UNMAP_DMA): self._unmap_dma,
            (Target.CONTAINER, VFIO_IOMMU_DIRTY_PAGES): self._dirty_pages,
        }
        if server.container_info:
            self._handlers[Target.CONTAINER, VFIO_IOMMU_GET_INFO] = self._container_info

    def issue(self, target: Target, request: int, argument: Argument) -> Outcome:
        """ENOTTY for a request without a message, EFAULT for a bad pointer, else the server's answer."""
        if target is Target.DEVICE and request == VFIO_DEVICE_RESET:
            return self._plain(Command.DEVICE_RESET, b"")
        handler = self._handlers.get((target, request))
        if handler is None:
            return failure(errno.ENOTTY)
        view = argument_view(argument)
        return failure(errno.EFAULT) if view is None else handler(view)

    def _plain(self, command: Command, payload: bytes, descriptors: tuple[int, ...] = ()) -> Outcome:
        reply = self._connection.exchange(command, payload, descriptors=descriptors, lenient=True)
        return failure(reply.errno) if reply.refused else success(0)

    # Information

    def _device_info(self, view: memoryview) -> Outcome:
        return self._info(Command.DEVICE_GET_INFO, DEVICE_INFO_SIZE, view)

    def _irq_info(self, view: memoryview) -> Outcome:
        return self._info(Command.DEVICE_GET_IRQ_INFO, IRQ_INFO_SIZE, view)

    def _region_info(self, view: memoryview) -> Outcome:
        return self._info(Command.DEVICE_GET_REGION_INFO, REGION_INFO_SIZE, view)

    def _info(self, command: Command, fixed: int, view: memoryview) -> Outcome:
        request = _padded(view, fixed)
        # More than argsz is passed on as far as there is room: the caller must see it.
        room = min(max(_u32(request), fixed, _INFO_ROOM), _LARGEST_INFO)
        is_region = command is Command.DEVICE_GET_REGION_INFO
        reply = self._connection.exchange(command, request, room=room, takes=1 if is_region else 0)
        if reply.refused:
            return failure(reply.errno)
        payload = reply.payload
        try:
            self._check_info(command, request, fixed, payload)
        except BaseException:
            close_all(reply.descriptors)
            raise
        if is_region:
            index, where = placement(memoryview(payload))
            self._regions.put(index, where, reply.descriptors[0] if reply.descriptors else -1)
        count = min(len(view), len(payload))
        view[:count] = payload[:count]
        return success(0)

    def _check_info(self, command: Command, request: bytes, fixed: int, payload: bytes) -> None:
        about = f"reply to {describe(command, request)}"
        if len(payload) < fixed:
            raise self._connection.violated(about, f"at least {counted(fixed, 'byte')}", f"{len(payload)}")
        argsz = _u32(payload)
        if not len(payload) <= argsz <= _LARGEST_INFO:
            raise self._connection.violated(
                about, f"an argsz from {len(payload)} (what came) to {_LARGEST_INFO}", f"{argsz}"
            )
        # The index of device information is another field.
        if command is not Command.DEVICE_GET_INFO and payload[8:12] != request[8:12]:
            raise self._connection.violated(
                about, f"index {_u32(request, 8)}", f"information on index {_u32(payload, 8)}"
            )

    def _container_info(self, view: memoryview) -> Outcome:
        argument = bytes(view[:CONTAINER_INFO_ROOM]).ljust(4, b"\0")  # argsz at least
        reply = self._connection.exchange(Command.CONTAINER_GET_INFO, argument, room=CONTAINER_INFO_ROOM)
        if reply.refused:
            return failure(reply.errno)
        count = min(len(view), len(reply.payload))
        view[:count] = reply.payload[:count]
        return success(0)

    def _set_irqs(self, view: memoryview) -> Outcome:
        header = _padded(view, SET_IRQS.size)
        argsz, flags, index, start, count = SET_IRQS.unpack(header)
        data = bytes(view[SET_IRQS.size : max(argsz, SET_IRQS.size)])
        if not flags & IRQ_FLAG_EVENTFD:
            return self._plain(Command.DEVICE_SET_IRQS, header + data)
        if len(data) < 4 * count:
            return failure(errno.EINVAL)  # as the kernel does; leaving descriptors out would change the meaning
        eventfds = memoryview(data[: 4 * count]).cast("i")
        try:
            for eventfd in eventfds:
                if eventfd >= 0:
                    os.fstat(eventfd)
        except OSError as error:
            return failure(error.errno or errno.EBADF)
        if not self._most_descriptors and any(eventfd >= 0 for eventfd in eventfds):
            return failure(errno.EINVAL)
        argsz = min(argsz, SET_IRQS.size)  # what the message holds; one that is too small even for that stays wrong
        for run in _runs(eventfds, self._most_descriptors) if count else [range(0)]:
            message = SET_IRQS.pack(argsz, flags, index, start + run.start & 2**32 - 1, len(run))
            given = tuple(eventfds[at] for at in run if eventfds[at] >= 0)
            outcome = self._plain(Command.DEVICE_SET_IRQS, message, given)
            if not outcome.ok:
                return outcome
        return success(0)

    # Memory

    def _map_dma(self, view: memoryview) -> Outcome:
        argsz, flags, vaddr, iova, size = DMA_MAP.unpack(_padded(view, DMA_MAP.size))
        memory = self._find_memory(vaddr, size)
        if memory is None:
            return failure(errno.EFAULT)
        start = vaddr - memory.address
        # If no descriptor may be sent, the server reaches the memory only by messages.
        descriptors = (memory.descriptor,) if self._most_descriptors else ()
        outcome = self._plain(Command.DMA_MAP, DMA_MAP.pack(argsz, flags, start, iova, size), descriptors)
        if outcome.ok:
            self._dma.add(Mapping(iova, size, flags, memory, start))
        return outcome

    def _unmap_dma(self, view: memoryview) -> Outcome:
        head = _padded(view, _KERNEL_UNMAP)
        argsz, flags, iova, size = DMA_UNMAP.unpack_from(head)
        page, bitmap_size, address = _bitmap(head, DMA_UNMAP.size)
        if flags & UNMAP_FLAG_BITMAP:
            request = DMA_UNMAP.pack(self._wire_argsz(argsz, _KERNEL_UNMAP, bitmap_size), flags, iova, size)
            request += BITMAP.pack(page, bitmap_size)
            outcome, answer = self._with_bitmap(Command.DMA_UNMAP, request, size, page, bitmap_size, address)
        else:
            request = DMA_UNMAP.pack(argsz, flags, iova, size)
            reply = self._connection.exchange(Command.DMA_UNMAP, request, room=DMA_UNMAP.size, lenient=True)
            if reply.refused:
                return failure(reply.errno)
            outcome, answer = success(0), reply.payload
            if len(answer) < DMA_UNMAP.size:
                about = f"reply to {describe(Command.DMA_UNMAP, request)}"
                raise self._connection.violated(about, counted(DMA_UNMAP.size, "byte"), f"{len(answer)}")
        if not answer:
            return outcome
        if flags & UNMAP_FLAG_ALL:
            self._dma.clear()
        else:
            self._dma.remove(iova, size)
        # The size is what the kernel would write back: how much was unmapped.
        view[16 : DMA_UNMAP.size] = answer[16 : DMA_UNMAP.size][: max(0, len(view) - 16)]
        return outcome

    def _dirty_pages(self, view: memoryview) -> Outcome:
        head = _padded(view, _KERNEL_GET)
        argsz, flags = DIRTY_PAGES.unpack_from(head)
        if not flags & DIRTY_FLAG_GET:
            return self._plain(Command.DIRTY_PAGES, DIRTY_PAGES.pack(argsz, flags))
        iova, size = DIRTY_RANGE.unpack_from(head, DIRTY_PAGES.size)
        page, bitmap_size, address = _bitmap(head, DIRTY_PAGES.size + DIRTY_RANGE.size)
        request = DIRTY_PAGES.pack(self._wire_argsz(argsz, _KERNEL_GET, bitmap_size), flags)
        request += DIRTY_RANGE.pack(iova, size) + BITMAP.pack(page, bitmap_size)
        # Several flags are for the server to refuse; one that takes another of them for the operation sends no bitmap.
        alone = flags == DIRTY_FLAG_GET
        return self._with_bitmap(Command.DIRTY_PAGES, request, size, page, bitmap_size, address, alone=alone)[0]

    def _wire_argsz(self, argsz: int, enough: int, bitmap_size: int) -> int:
        """The argsz for a message in which the bitmap takes the place of its address."""
        if argsz < enough:
            return argsz
        return max(enough - _POINTER, min(argsz - _POINTER + bitmap_size, self._most_argsz))

    def _with_bitmap(
        self,
        command: Command,
        request: bytes,
        size: int,
        page: int,
        bitmap_size: int,
        address: int,
        *,
        alone: bool = True,
    ) -> tuple[Outcome, bytes]:
        """A request whose reply repeats it and adds the bitmap, which goes to ``address``.

        Unless the bitmap ``alone`` was asked for, the reply may be empty. Returns the outcome and the reply's payload,
        empty if the server did not do it.
        """
        fixed = len(request)
        room = fixed + min(bitmap_size, _LARGEST_BITMAP)
        reply = self._connection.exchange(command, request, room=room, fixed=fixed)
        if reply.refused:
            return failure(reply.errno), b""
        payload, bitmap = reply.payload, reply.data
        if not payload and not alone:
            return success(0), b""
        if len(payload) < fixed:
            about = f"reply to {describe(command, request)}"
            raise self._connection.violated(about, f"at least {counted(fixed, 'byte')}", f"{len(payload)}")
        if not bitmap and _u32(payload) > _u32(request):
            return failure(errno.EINVAL), b""  # it asks for more room: EINVAL in the kernel
        needed = -(-size // page) + 7 >> 3 if page else 0
        if len(bitmap) < min(needed, bitmap_size):
            about = f"reply to {describe(command, request)}"
            raise self._connection.violated(about, f"a bitmap of {counted(needed, 'byte')}", f"{len(bitmap)}")
        if bitmap and not libc.store(address, bitmap):
            return failure(errno.EFAULT), payload
        return success(0), payload


def _runs(eventfds: Sequence[int], most: int) -> Iterator[range]:
    """Splits them into messages: up to ``most`` descriptors each, or any number of -1, for which none is sent.

    A message without descriptors takes away those of all its vectors; it cannot do so for only some of them.
    """
    start = 0
    for there, same in groupby(eventfds, key=lambda eventfd: eventfd >= 0):
        end = start + len(list(same))
        step = most if there else end - start
        yield from (range(at, min(at + step, end)) for at in range(start, end, step))
        start = end


def _padded(view: memoryview, size: int) -> bytes:
    """The first ``size`` bytes of an argument, padded with zeros."""
    return bytes(view[:size]).ljust(size, b"\0")


def _u32(data: bytes, at: int = 0) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _bitmap(structure: bytes, at: int) -> tuple[int, int, int]:
    """Page size, size and address from a struct vfio_bitmap."""
    page, size = BITMAP.unpack_from(structure, at)
    return page, size, int.from_bytes(structure[at + BITMAP.size : at + BITMAP.size + _POINTER], "little")


def largest_argsz(server: Peer) -> int:
    """The most bytes of a reply's payload that may be asked for: messages have an agreed length at most."""
    return min(server.max_data_xfer_size, MAX_DATA)


def largest_bitmap(server: Peer) -> int:
    """The most bytes of a dirty bitmap that fit into such a reply, in whole words."""
    return max(0, largest_argsz(server) - DIRTY_PAGES.size - DIRTY_RANGE.size - BITMAP.size) // 8 * 8
