# SPDX-License-Identifier: GPL-2.0-only
"""Memory that the device may reach (kabi v23, lines 325-351)."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from ..transport import GuardedBuffer, Outcome, Target, Transport, TransportError
from ..uapi.type1 import VFIO_IOMMU_MAP_DMA, VFIO_IOMMU_UNMAP_DMA, DmaMapFlags, DmaUnmapFlags
from ..uapi.vfio import ffi
from .errors import DeviceError, errno_name

#: Where tests put memory: clear of the usual reserved ranges (interrupts of ARM machines lie at 128 MiB), and below
#: what a device with 28 address bits reaches.
IOVA = 0x0900_0000
#: How much, where it does not matter.
DMA_SIZE = 64 * 1024

_MAP = ffi.sizeof("struct vfio_iommu_type1_dma_map")
_UNMAP = ffi.sizeof("struct vfio_iommu_type1_dma_unmap")
_UNMAP_REPORTING = _UNMAP + ffi.sizeof("struct vfio_bitmap")


class DmaMap:
    """Zeroed memory of ``size`` bytes, mapped at ``iova`` for reading and writing, for as long as the block lasts.

    Entering raises DeviceError when the driver refuses the mapping, SetupError when the host does. What ends the block
    is not hidden by an unmapping that fails after it.
    """

    def __init__(self, transport: Transport, iova: int, size: int) -> None:
        self._transport = transport
        self.iova = iova
        self.size = size
        #: Whether the device can reach it now.
        self.mapped = False

    @property
    def view(self) -> memoryview:
        """The bytes of the memory."""
        return self._memory.view

    def __enter__(self) -> DmaMap:
        self._memory = self._transport.memory(self.size)
        argument = ffi.new(
            "struct vfio_iommu_type1_dma_map *",
            {
                "argsz": _MAP,
                "flags": DmaMapFlags.READ | DmaMapFlags.WRITE,
                "vaddr": self._memory.address,
                "iova": self.iova,
                "size": self.size,
            },
        )
        try:
            outcome = self._transport.ioctl(Target.CONTAINER, VFIO_IOMMU_MAP_DMA, argument)
            if outcome.value < 0:
                raise self._transport.host_fault(VFIO_IOMMU_MAP_DMA, outcome, self.size) or DeviceError(
                    f"mapping {self.size} bytes at IOVA 0x{self.iova:x}", "success", errno_name(outcome.errno)
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
            if self.mapped:
                self.try_unmap()
        except TransportError:
            if error is None:
                raise
        finally:
            self._memory.release()

    def try_unmap(
        self, into: GuardedBuffer | None = None, page: int = 0, *, argsz: int | None = None, room: int | None = None
    ) -> tuple[Outcome, int]:
        """Unmap it; what was answered, and the number of bytes unmapped that was written back.

        With ``into`` the dirty bitmap is asked for, a bit for each ``page`` bytes. ``argsz`` and ``room``, the size of
        the bitmap, can be wrong on purpose.
        """
        argument = ffi.new("uint8_t[]", _UNMAP if into is None else _UNMAP_REPORTING)
        head: Any = ffi.cast("struct vfio_iommu_type1_dma_unmap *", argument)
        head.argsz = len(argument) if argsz is None else argsz
        head.iova, head.size = self.iova, self.size
        if into is not None:
            head.flags = DmaUnmapFlags.GET_DIRTY_BITMAP
            bitmap: Any = ffi.cast("struct vfio_bitmap *", argument + _UNMAP)
            bitmap.pgsize, bitmap.size, bitmap.data = page, into.length if room is None else room, into.address
        outcome = self._transport.ioctl(Target.CONTAINER, VFIO_IOMMU_UNMAP_DMA, argument)
        self.mapped = self.mapped and not outcome.ok
        return outcome, head.size
