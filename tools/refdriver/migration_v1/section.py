# SPDX-License-Identifier: GPL-2.0-only
"""The data section of the migration region: where buffers are, and how users reach them (kabi v23:182-194)."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Sequence

from ..device.regions import Area, check_range
from ..options import Options

_PAGE = mmap.PAGESIZE

#: The offset of a buffer from the start of a page, if nothing can be mapped.
_OFF_PAGE = 40
_MOST_AREAS = 8


def places(kind: str, first: int, last: int, unit: int) -> Sequence[int]:
    """The places of buffers in turn, between ``first`` and ``last`` and a number of units from ``first``."""
    units = (last - first) // unit
    if kind == "moving":
        return range(first, last + 1, unit)
    return [first + unit * {"fixed": 0, "middle": units // 2, "last": units}[kind]]


def scattered(start: int, end: int) -> list[Area]:
    """Areas of some pages with as many pages between them, the last one first."""
    unit = -(-(end - start) // (2 * _MOST_AREAS) // _PAGE) * _PAGE
    return [(at, min(unit, end - at)) for at in range(start, end, 2 * unit)][::-1]


class DataSection:
    """Memory shared with the user. Offsets are those of the region."""

    def __init__(self, options: Options) -> None:
        self._kind = options.data_section
        #: Where the section begins: at a page, if it can be mapped (kabi v23:189-191).
        self.start = options.section_at
        #: Where the section, and with it the region, ends.
        self.end = self.start + options.section
        self._half = self.start + options.section // 2
        #: Bytes of a buffer at most.
        self.largest_buffer = options.largest_buffer
        self._places = self._lay_out(options, self.start)
        #: The descriptor to map; -1 without a user.
        self.fd = -1
        #: Offset and size of the buffer that is there to be read.
        self.present: tuple[int, int] | None = None
        self._memory = memoryview(b"")

    def _lay_out(self, options: Options, first: int) -> Sequence[int]:
        """The places of buffers, none of them before ``first``."""
        # Mappable areas are page aligned (kabi v23:189-190).
        unit = 8 if self._kind == "trapped" else _PAGE
        return places(options.offset, first, self.end - self.largest_buffer, unit)

    @property
    def areas(self) -> list[Area]:
        """Offset and size of the areas that can be mapped (kabi v23:186-189)."""
        if self._kind == "trapped":
            return []
        if self._kind == "scattered":
            return scattered(self.start, self.end)
        return [(self.start, (self._half if self._kind == "partitioned" else self.end) - self.start)]

    def open(self) -> None:
        """A user opens the device and gets fresh memory."""
        # As large as the region, because an area has the same offset in the file and in the region.
        # Sealed, so that a user cannot pull the memory away from under the device.
        self.fd = os.memfd_create("refdriver-data-section", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, self.end)
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self._memory = memoryview(mmap.mmap(self.fd, self.end))

    def close(self) -> None:
        """The user has closed the device. Memory that a reply still refers to is freed with the reply."""
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1
        self.withdraw()
        self._memory = memoryview(b"")

    def place(self, number: int) -> int:
        """data_offset for the buffer of this number."""
        at = self._places[number % len(self._places)]
        if self._kind == "scattered" and not self.may_be_mapped(at, 1):
            at = min(at + _OFF_PAGE, self.end - self.largest_buffer)
        return at

    def holds(self, offset: int, count: int) -> bool:
        """Whether a range is wholly in the buffer that is there to be read."""
        if self.present is None:
            return False
        place, size = self.present
        return place <= offset and offset + count <= place + size

    def may_be_mapped(self, offset: int, count: int) -> bool:
        """Whether any of a range is in an area."""
        return any(offset < start + size and start < offset + count for start, size in self.areas)

    # The device's side.

    def room(self, place: int) -> memoryview:
        """The memory into which the device puts a buffer for ``place``."""
        return self._memory[place:]

    def show(self, place: int, size: int) -> None:
        """A buffer was put there for the user to read, mapped or not."""
        self.present = place, size

    def withdraw(self) -> None:
        """The buffer that was there is no longer needed."""
        self.present = None

    def taken(self, place: int, size: int) -> memoryview:
        """The data that the user has put at ``place``. It may still be changing."""
        return self._memory[place : place + size]

    # The user's side, except through mappings.

    def read(self, offset: int, count: int) -> bytes | memoryview:
        """Any part, mapped or not (kabi v23:191-192); the result shows later changes."""
        check_range(offset, count, self.end)
        return self._memory[offset : offset + count]

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Any part, mapped or not."""
        check_range(offset, len(data), self.end)
        self._memory[offset : offset + len(data)] = data
