# SPDX-License-Identifier: GPL-2.0-only
"""What VFIO_IOMMU_GET_INFO reports on a type 1 container (DEVICE.md, Container information)."""

from __future__ import annotations

from errno import EINVAL
from struct import Struct

from ..options import Options
from ..refusal import Refusal
from ..socket.chain import ARRANGEMENTS, Capability
from ..socket.requests import check_argsz, fields
from .dirty import DirtyTracker
from .ranges import USABLE

#: argsz, flags, page sizes, offset of the first capability, padding
INFO = Struct("<IIQII")
#: Up to the page sizes: what a caller must have room for.
LEAST = 16

#: Bits of flags.
_HAS_PAGE_SIZES, _HAS_CAPABILITIES = 1, 2
_MAPPING_SIZES = 4 << 10 | 2 << 20 | 1 << 30
_MOST_ARGUMENT = 4096
_ARGSZ = Struct("<I")
_IOVA_RANGE = 1
_MIGRATION = 2
#: flags, padding, page sizes, largest bitmap
_MIGRATION_CONTENT = Struct("<IIQQ")
#: number of ranges, reserved; then first and last address of each
_RANGES_HEAD = Struct("<II")
_RANGE = Struct("<QQ")


class Information:
    """Answers VFIO_IOMMU_GET_INFO."""

    def __init__(self, options: Options, tracker: DirtyTracker) -> None:
        self._tracker = tracker
        self._largest_bitmap = options.largest_bitmap
        self._iova = options.iova
        self._arrange = ARRANGEMENTS[options.capabilities]
        #: The padding between the fields of the migration capability.
        self._padding = 0x5A5A5A5A if options.capabilities == "odd" else 0

    def answer(self, argument: bytes) -> bytes:
        """The caller's structure after the call, up to the last byte written.

        ``argument`` is the structure as the caller filled it. Refused with EINVAL: an argsz below 16, and a
        structure that is too long to be one.
        """
        (argsz,) = fields(_ARGSZ, argument)
        if len(argument) > _MOST_ARGUMENT:
            raise Refusal(EINVAL)
        return self._answer(int(argsz))

    def _answer(self, argsz: int) -> bytes:
        check_argsz(argsz, LEAST)
        first, links = self._arrange(INFO.size, self._capabilities())
        return self._fit(argsz, first, links)

    def _fit(self, argsz: int, first: int, links: bytes) -> bytes:
        """All of it if it fits; otherwise as much of the fixed part as fits, which says how much room is needed."""
        needed = INFO.size + len(links)
        if argsz >= needed:
            return self._fixed(argsz, first) + links
        return self._fixed(needed, 0)[:argsz]

    @staticmethod
    def _fixed(argsz: int, first: int) -> bytes:
        return INFO.pack(argsz, _HAS_PAGE_SIZES | _HAS_CAPABILITIES, _MAPPING_SIZES, first, 0)

    def _capabilities(self) -> list[Capability]:
        """The capabilities in order."""
        tracking = self._tracking(self._tracker.page_size, self._largest_bitmap)
        return [tracking] if self._iova == "none" else [tracking, self._iova_range()]

    def _tracking(self, page_sizes: int, largest: int) -> Capability:
        """The capability that announces dirty page tracking: page sizes as a bitmap, bytes of the largest bitmap."""
        return Capability(_MIGRATION, 1, _MIGRATION_CONTENT.pack(0, self._padding, page_sizes, largest))

    def _iova_range(self) -> Capability:
        """The addresses that can be mapped."""
        ranges = USABLE[self._iova]
        content = _RANGES_HEAD.pack(len(ranges), 0) + b"".join(_RANGE.pack(*ends) for ends in ranges)
        return Capability(_IOVA_RANGE, 1, content)
