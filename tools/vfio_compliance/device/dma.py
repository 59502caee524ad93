# SPDX-License-Identifier: GPL-2.0-only
"""Memory that the device may reach (kabi v23, lines 325-351)."""

from __future__ import annotations

from struct import Struct
from types import TracebackType

from ..common.calls import LOOK
from ..common.words import counted
from ..transport import GuardedBuffer, Outcome, Pointing, Target, Transport, TransportError
from ..uapi.type1 import VFIO_IOMMU_MAP_DMA, VFIO_IOMMU_UNMAP_DMA, DmaMapFlags, DmaUnmapFlags
from ..uapi.vfio import ffi
from .errors import DeviceError, errno_name

#: Where tests put memory: clear of the usual reserved ranges (interrupts of ARM machines are at 128 MiB), and in reach
#: of a device with 28 address bits.
IOVA = 0x0900_0000
#: How much, if it does not matter.
DMA_SIZE = 64 * 1024

_MAP = ffi.sizeof("struct vfio_iommu_type1_dma_map")
#: Bytes of VFIO_IOMMU_UNMAP_DMA, and with a bitmap.
UNMAP = ffi.sizeof("struct vfio_iommu_type1_dma_unmap")
UNMAP_REPORTING = UNMAP + ffi.sizeof("struct vfio_bitmap")

#: argsz, flags, address and size, then page size, size and address of a bitmap.
_REQUEST = Struct("<IIQQQQQ")


class DmaMap:
    """Zeroed memory of ``size`` bytes, mapped at ``iova`` for as long as the block lasts, for reading and writing.

    A ``readonly`` one is mapped only for reading.

    Entering raises DeviceError if the driver refuses the mapping, SetupError if the host does. A failing unmapping does
    not hide the exception that ended the block.
    """

    def __init__(self, transport: Transport, iova: int, size: int, *, readonly: bool = False) -> None:
        self._transport = transport
        self._flags = DmaMapFlags.READ if readonly else DmaMapFlags.READ | DmaMapFlags.WRITE
        self.iova = iova
        self.size = size
        #: Whether the device can reach it now.
        self.mapped = False

    @property
    def view(self) -> memoryview:
        """The bytes of the memory."""
        return self._memory.view

    def look(self, start: int = 0, length: int | None = None) -> bytes:
        """The memory's present content, all of it or ``length`` bytes from ``start`` on."""
        data = bytes(self.view[start : self.size if length is None else start + length])
        self._transport.tracer.seen(LOOK, "memory", self.iova + start, data)
        return data

    def __enter__(self) -> DmaMap:
        self._memory = self._transport.memory(self.size)
        argument = ffi.new(
            "struct vfio_iommu_type1_dma_map *",
            {
                "argsz": _MAP,
                "flags": self._flags,
                "vaddr": self._memory.address,
                "iova": self.iova,
                "size": self.size,
            },
        )
        try:
            outcome = self._transport.ioctl(Target.CONTAINER, VFIO_IOMMU_MAP_DMA, argument)
            if outcome.value < 0:
                raise self._transport.host_fault(VFIO_IOMMU_MAP_DMA, outcome, self.size) or DeviceError(
                    f"mapping {counted(self.size, 'byte')} at IOVA 0x{self.iova:x}",
                    "success",
                    errno_name(outcome.errno),
                    outcome.errno,
                )
        except BaseException:
            self._memory.release()
            raise
        self.mapped = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.mapped and not self._transport.gone:
                self.try_unmap()
        except TransportError:
            if error is None:
                raise
        finally:
            self._memory.release()

    def try_unmap(self, into: GuardedBuffer | None = None, page: int = 0, *, room: int | None = None) -> Outcome:
        """Unmap it; returns the answer.

        With ``into``, the dirty bitmap is asked for, a bit for each ``page`` bytes. ``room`` is the request's size of
        the bitmap, if it is to be wrong.
        """
        if into is None:
            argument = unmap_request(self.iova, self.size)[:UNMAP]
        else:
            argument = unmap_request(
                self.iova,
                self.size,
                flags=DmaUnmapFlags.GET_DIRTY_BITMAP,
                argsz=UNMAP_REPORTING,
                page=page,
                bitmap=into,
                bitmap_size=into.length if room is None else room,
            )
        outcome = self._transport.ioctl(Target.CONTAINER, VFIO_IOMMU_UNMAP_DMA, argument)
        self.mapped = self.mapped and not outcome.ok
        return outcome


def unmap_request(
    iova: int,
    size: int,
    *,
    flags: int = 0,
    argsz: int = UNMAP,
    page: int = 0,
    bitmap: GuardedBuffer | None = None,
    bitmap_size: int = 0,
) -> bytearray:
    """The 48 bytes of VFIO_IOMMU_UNMAP_DMA with a bitmap; without one, all bytes after the size are ones."""
    ones = (1 << 64) - 1
    if bitmap is None:
        return bytearray(_REQUEST.pack(argsz, flags, iova, size, ones, ones, ones))
    return Pointing(
        _REQUEST.pack(argsz, flags, iova, size, page, bitmap_size, bitmap.address),
        bitmap.behind,
        readonly=bitmap.is_readonly,
    )
