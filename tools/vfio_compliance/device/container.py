# SPDX-License-Identifier: GPL-2.0-only
"""The type1 container: its information, and its requests, right or wrong."""

from __future__ import annotations

import errno
from contextlib import suppress
from functools import cached_property
from struct import Struct

from ..common.words import counted
from ..transport import Argument, GuardedBuffer, Outcome, Pointing, Target, Transport
from ..uapi.type1 import VFIO_IOMMU_DIRTY_PAGES, VFIO_IOMMU_GET_INFO, DirtyPagesFlags
from .container_info import ASKING, FIXED, ContainerInfo
from .dma import DmaMap, unmap_request
from .errors import DeviceError, errno_name

#: argsz and flags; with a range, and page size, size and address of a bitmap.
_HEAD, _GET = Struct("<II"), Struct("<IIQQQQQ")

#: Larger information than this counts as malformed.
_LARGEST_INFO = 1 << 20


class Container:
    """The container that an open device is in."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        #: The page sizes, and the open after which they were asked for.
        self._page_sizes, self._asked_after = 0, 0

    # -- information ------------------------------------------------------------------------------------------------

    @property
    def has_info(self) -> bool:
        """Whether information can be asked for: False if the transport carries no such request."""
        return self._transport.kernel or self.try_info(FIXED)[0].errno != errno.ENOTTY

    def try_info(self, argsz: int, *, room: int = 0, fill: int = 0) -> tuple[Outcome, bytes]:
        """VFIO_IOMMU_GET_INFO with this argsz in ``room`` bytes of memory, by default argsz bytes.

        Returns the answer, and the memory afterwards; before, each byte but those of argsz was ``fill``.
        """
        memory = bytearray([fill]) * max(room or argsz, 4)
        memory[:4] = argsz.to_bytes(4, "little")
        outcome = self.try_request(VFIO_IOMMU_GET_INFO, memory)
        return outcome, bytes(memory)

    def info(self) -> ContainerInfo:
        """The whole information: asked for again with as much room as the first answer requires.

        Raises DeviceError if the container gives none, or none that can be used.
        """
        answer = self._info(FIXED)
        needed = int.from_bytes(answer[:4], "little")
        if FIXED < needed <= _LARGEST_INFO:
            answer = self._info(needed)
            needed = int.from_bytes(answer[:4], "little")
        if needed > len(answer):
            limit = f"at most the {counted(len(answer), 'byte')} asked for, and {_LARGEST_INFO}"
            raise DeviceError(ASKING, limit, f"{needed}")
        return ContainerInfo.parse(answer)

    @property
    def no_tracking(self) -> str:
        """Why dirty pages are not tracked, as a sentence, if nothing announces tracking."""
        silent = "no capability says so, and START is refused"
        return self._transport.no_tracking or f"the container offers no dirty page tracking: {silent}"

    @property
    def largest_argsz(self) -> int:
        """The largest argsz that can be used."""
        return self._transport.largest_argsz

    def page_sizes(self) -> int:
        """The page sizes that bitmaps may have: bit n for 2^n bytes; 0: no tracking is announced.

        If transport and device agreed on one, it is that. Raises DeviceError as info() does.
        """
        if self._transport.no_tracking:
            return 0
        if (agreed := self._transport.dirty_page_size) is not None:
            return agreed
        migration = self.info().migration
        return migration.pgsize_bitmap if migration else 0

    def known_page_sizes(self) -> int:
        """As page_sizes(), but asked for only once after each open."""
        if self._asked_after != self._transport.openings:
            self._page_sizes = self.page_sizes()
            self._asked_after = self._transport.openings
        return self._page_sizes

    def largest_bitmap(self) -> int:
        """The most bytes of a bitmap; without a capability, or if it allows none, the most that can be asked for.

        Raises DeviceError as info() does.
        """
        migration = self.info().migration if self.has_info else None
        most = self._transport.largest_bitmap
        return min(most, (migration.max_dirty_bitmap_size if migration else 0) or most)

    @cached_property
    def offers_tracking(self) -> bool:
        """Whether there is anything to judge: a page size was agreed on, a capability is there, or START succeeds."""
        if self._transport.no_tracking:
            return False
        with suppress(DeviceError):
            if self.page_sizes():
                return True
        started = self.try_request(VFIO_IOMMU_DIRTY_PAGES, self.dirty_request(DirtyPagesFlags.START)).ok
        if started:
            self.try_request(VFIO_IOMMU_DIRTY_PAGES, self.dirty_request(DirtyPagesFlags.STOP))
        return started

    def _info(self, size: int) -> bytes:
        outcome, answer = self.try_info(size)
        if outcome.value < 0:
            raise DeviceError(ASKING, "success", errno_name(outcome.errno), outcome.errno)
        return answer

    # -- memory -----------------------------------------------------------------------------------------------------

    def maps(self, iova: int, size: int) -> bool:
        """Whether something is mapped in a range: then nothing else can be mapped there. Raises SetupError."""
        try:
            with DmaMap(self._transport, iova, size):
                return False
        except DeviceError:
            return True

    # -- raw requests -----------------------------------------------------------------------------------------------

    def guarded(self, length: int) -> GuardedBuffer:
        """Memory that ends at an inaccessible page, to be released by the caller."""
        return GuardedBuffer(length)

    def try_request(self, request: int, argument: Argument) -> Outcome:
        """Any request with any argument, memory or address; returns the answer."""
        return self._transport.ioctl(Target.CONTAINER, request, argument)

    @staticmethod
    def dirty_request(
        flags: int,
        *,
        argsz: int = 8,
        iova: int = 0,
        size: int = 0,
        page: int = 0,
        bitmap: GuardedBuffer | None = None,
        bitmap_size: int = 0,
    ) -> bytearray:
        """The 48 bytes of VFIO_IOMMU_DIRTY_PAGES with a range; without a bitmap, all bytes after the flags are ones."""
        if bitmap is None:
            return bytearray(_HEAD.pack(argsz, flags) + b"\xff" * (_GET.size - _HEAD.size))
        return Pointing(
            _GET.pack(argsz, flags, iova, size, page, bitmap_size, bitmap.address),
            bitmap.behind,
            readonly=bitmap.is_readonly,
        )

    unmap_request = staticmethod(unmap_request)
