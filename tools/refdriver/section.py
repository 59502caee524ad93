# SPDX-License-Identifier: GPL-2.0-only
"""The data section of the migration region: where buffers lie, and how users reach them (kabi v23:182-194)."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Sequence
from errno import EINVAL
from time import monotonic_ns

from .options import Options
from .refusal import Refusal
from .regions import check_range

_PAGE = mmap.PAGESIZE
_LATE_NS = 20_000_000
_WORD = 4

#: With these defects what is read and written is not the memory that is mapped.
_APART = frozenset({"mapped-view-stale", "mapped-view-first-page", "mapped-writes-unseen"})

#: How far past the start of a page a buffer lies, where nothing can be mapped.
_OFF_PAGE = 40
_MOST_AREAS = 8

#: Areas that are listed behind the true one, by defects.
_SECOND_AREAS = {
    "area-empty": (_PAGE, 0),
    "area-wraps": (2**64 - _PAGE, 2 * _PAGE),
    "area-second-covers-registers": (0, _PAGE),
}


def places(kind: str, first: int, last: int, unit: int) -> Sequence[int]:
    """Where buffers come to lie in turn, between ``first`` and ``last`` and a number of units from ``first``."""
    units = (last - first) // unit
    if kind == "moving":
        return range(first, last + 1, unit)
    return [first + unit * {"fixed": 0, "middle": units // 2, "last": units}[kind]]


def scattered(start: int, end: int) -> list[tuple[int, int]]:
    """Areas of some pages with as many pages between them, the last one first."""
    unit = -(-(end - start) // (2 * _MOST_AREAS) // _PAGE) * _PAGE
    return [(at, min(unit, end - at)) for at in range(start, end, 2 * unit)][::-1]


class DataSection:
    """Memory shared with the user. Offsets are those of the region."""

    def __init__(self, options: Options) -> None:
        self._defects = options.defects
        self._kind = options.data_section
        #: Where the section begins: at a page, where it can be mapped (kabi v23:189-191).
        self.start = options.manner.section_at
        #: Where the section, and with it the region, ends.
        self.end = self.start + options.section
        self._half = self.start + options.section // 2
        first = self.start + (8 if "data-offset-unaligned" in self._defects else 0)
        #: By how much all buffers but the first lie further (defect data-offset-unaligned-later).
        self._drift = 8 if "data-offset-unaligned-later" in self._defects else 0
        #: Bytes of a buffer at most.
        self.largest_buffer = min(options.buffer, self.end - first - self._drift)
        # What may be mapped is page aligned (kabi v23:189-190).
        unit = 8 if self._kind == "trapped" else _PAGE
        self._places = places(options.offset, first, self.end - self.largest_buffer, unit)
        #: The descriptor to map the section by; -1 without a user.
        self.fd = -1
        #: Offset and size of the buffer that is there to be read.
        self.present: tuple[int, int] | None = None
        self._mapped = memoryview(b"")
        #: What reads show: the very memory that is mapped, but for defects.
        self._served = self._mapped
        #: Where a byte is missing, which one, and when it comes (defects offset-returns-early*).
        self._missing: tuple[int, int, int] | None = None
        #: Where bytes are missing, and which, until ``reveal`` (defects data-lazy-*).
        self._hidden: tuple[int, bytes] | None = None

    @property
    def areas(self) -> list[tuple[int, int]]:
        """Offset and size of what may be mapped (kabi v23:186-189)."""
        if self._kind == "trapped":
            return []
        if "area-outside-region" in self._defects:
            return [(self.start, self.end + _PAGE - self.start)]
        if self._kind == "scattered":
            return scattered(self.start, self.end)
        first = 0 if "area-covers-registers" in self._defects else self.start
        areas = [(first, (self._half if self._kind == "partitioned" else self.end) - first)]
        return areas + [area for name, area in _SECOND_AREAS.items() if name in self._defects]

    def open(self) -> None:
        """A user begins, with fresh memory."""
        # As large as the region, since an area's place in the file is its offset in the region.
        # Sealed, so that a user cannot pull the memory away from under the device.
        self.fd = os.memfd_create("refdriver-data-section", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, self.end)
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self._mapped = memoryview(mmap.mmap(self.fd, self.end))
        self._served = memoryview(bytearray(self.end)) if self._defects & _APART else self._mapped

    def close(self) -> None:
        """The user has gone. Memory that a reply still names goes when that does."""
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1
        self.withdraw()
        self._mapped = self._served = memoryview(b"")

    def place(self, number: int) -> int:
        """data_offset for the buffer of this number."""
        at = self._places[number % len(self._places)] + (self._drift if number else 0)
        if self._kind == "scattered" and not self._may_be_mapped(at, 1):
            at = min(at + _OFF_PAGE, self.end - self.largest_buffer)
        return at

    def holds(self, offset: int, count: int) -> bool:
        """Whether a range lies wholly in the buffer that is there to be read."""
        if self.present is None:
            return False
        place, size = self.present
        return place <= offset and offset + count <= place + size

    # The device's side.

    def room(self, place: int) -> memoryview:
        """Where the device puts a buffer that is to lie at ``place``."""
        self._missing = self._hidden = None
        if "mapped-view-stale" in self._defects:
            self._mapped[:] = self._served
        return self._served[place:]

    def show(self, place: int, size: int) -> None:
        """A buffer was put there for the user to read, mapped or not."""
        self.present = place, size
        if "mapped-view-first-page" in self._defects:
            size = min(size, _PAGE)
        if self._defects & _APART - {"mapped-view-stale"}:
            self._mapped[place : place + size] = self._served[place : place + size]

    def hide(self, start: int) -> None:
        """Have the present buffer lack what comes from ``start`` on, until ``reveal``."""
        if self.present is not None and start < self.present[1]:
            place, end = self.present[0] + start, sum(self.present)
            self._hidden = place, bytes(self._served[place:end])
            self._served[place:end] = bytes(end - place)

    def reveal(self) -> None:
        """Let appear what was hidden."""
        if self._hidden is not None:
            place, data = self._hidden
            self._served[place : place + len(data)] = data
            self._hidden = None

    def delay_last_byte(self) -> None:
        """Have the last byte of the present buffer arrive later."""
        if self.present is not None and self.present[1] and self._missing is None:
            at = sum(self.present) - 1
            self._missing = (at, self._served[at], monotonic_ns() + _LATE_NS)
            self._served[at] = 0

    @property
    def awaits(self) -> bool:
        """Whether ``tick`` has to be called from time to time."""
        return self._missing is not None

    def tick(self) -> None:
        """Let a late byte arrive."""
        if self._missing is not None and monotonic_ns() >= self._missing[2]:
            at, byte, _ = self._missing
            self._served[at] = byte
            self._missing = None

    def withdraw(self) -> None:
        """The buffer that was there is of no interest any more."""
        self.present = self._missing = self._hidden = None

    def taken(self, place: int, size: int) -> memoryview:
        """What the user has put at ``place``. It may still be changing."""
        memory = self._served if "mapped-writes-unseen" in self._defects else self._mapped
        return memory[place : place + size]

    # The user's side, but for what is mapped.

    def read(self, offset: int, count: int) -> bytes | memoryview:
        """Any part, mapped or not (kabi v23:191-192); what is given shows later changes."""
        check_range(offset, count, self.end)
        if "data-read-refused" in self._defects and self._may_be_mapped(offset, count):
            raise Refusal(EINVAL)
        if self.present is None:
            return self._mapped[offset : offset + count]
        return self._read_buffer(offset, count, self.present)

    def _read_buffer(self, offset: int, count: int, present: tuple[int, int]) -> bytes | memoryview:
        """What is read while a buffer is there: just that, but for defects."""
        refusing = {
            "data-read-whole-only": (offset, count) != present,
            "data-read-narrow-refused": count < _WORD,
            "data-read-refused-past-page": offset + count > present[0] + _PAGE,
        }
        if any(refusing[name] for name in self._defects & refusing.keys()):
            raise Refusal(EINVAL)
        if "data-read-narrow-misplaced" in self._defects and count < _WORD:
            offset -= offset % _WORD
        data = self._served[offset : offset + count]
        if "partition-torn" in self._defects and offset + count > self._half:
            start = max(offset, self._half)
            return bytes(self._served[offset:start]) + bytes(self._served[start - 1 : offset + count - 1])
        if "data-read-once" in self._defects:
            once = bytes(data)
            data[:] = bytes(count)
            return once
        return data

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Any part, mapped or not."""
        check_range(offset, len(data), self.end)
        if "data-write-refused" in self._defects and self._may_be_mapped(offset, len(data)):
            raise Refusal(EINVAL)
        if len(data) < _WORD:
            if "data-write-narrow-refused" in self._defects:
                raise Refusal(EINVAL)
            if "data-write-narrow-misplaced" in self._defects:
                offset -= offset % _WORD
        self._mapped[offset : offset + len(data)] = data
        if "mapped-writes-unseen" in self._defects:
            self._served[offset : offset + len(data)] = data

    def _may_be_mapped(self, offset: int, count: int) -> bool:
        return any(offset < start + size and start < offset + count for start, size in self.areas)
