# SPDX-License-Identifier: GPL-2.0-only
"""Memory that the device may reach."""

from __future__ import annotations

from types import TracebackType

from ..transport import Target, Transport, TransportError
from ..uapi.type1 import VFIO_IOMMU_MAP_DMA, VFIO_IOMMU_UNMAP_DMA, DmaMapFlags
from ..uapi.vfio import ffi
from .errors import DeviceError, errno_name

#: Where tests put memory, and how much: inside the first gigabyte, clear of every usual reserved range.
IOVA = 0x1000_0000
DMA_SIZE = 64 * 1024


class DmaMap:
    """Zeroed memory of ``size`` bytes, mapped at ``iova`` for reading and writing, for as long as the block lasts.

    Entering raises DeviceError when the driver refuses the mapping, SetupError when the host does. What ends the block
    is not hidden by an unmapping that fails after it.
    """

    def __init__(self, transport: Transport, iova: int, size: int) -> None:
        self._transport = transport
        self.iova = iova
        self.size = size

    def __enter__(self) -> memoryview:
        self._memory = self._transport.memory(self.size)
        flags = DmaMapFlags.READ | DmaMapFlags.WRITE
        argument = ffi.new(
            "struct vfio_iommu_type1_dma_map *",
            {
                "argsz": ffi.sizeof("struct vfio_iommu_type1_dma_map"),
                "flags": flags,
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
        return self._memory.view

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        argument = ffi.new(
            "struct vfio_iommu_type1_dma_unmap *",
            {
                "argsz": ffi.sizeof("struct vfio_iommu_type1_dma_unmap"),
                "iova": self.iova,
                "size": self.size,
            },
        )
        try:
            self._transport.ioctl(Target.CONTAINER, VFIO_IOMMU_UNMAP_DMA, argument)
        except TransportError:
            if error is None:
                raise
        finally:
            self._memory.release()
