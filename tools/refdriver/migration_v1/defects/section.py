# SPDX-License-Identifier: GPL-2.0-only
"""The data section: where it is said to be, which areas can be mapped, and what is read there."""

from __future__ import annotations

from collections.abc import Callable
from errno import EINVAL

from ...device.regions import Area
from ...options import Options
from ...overlays import defect
from ...refusal import Refusal
from ..region import SIZE, MigrationRegion
from ..section import DataSection
from ..states import RESUMING
from ..stream import Outgoing
from .apart import Apart

_PAGE, _WORD = 4096, 4
_FILE_POSITION = 9 << 40

# data_offset.


def reading(read: Callable[[MigrationRegion, int], int]) -> type[MigrationRegion]:
    """A region whose data_offset reads something else; ``read`` is given the true one."""

    class Reading(MigrationRegion):
        def read_offset(self) -> int:
            return read(self, super().read_offset())

    return Reading


def reading_of_buffer(read: Callable[[DataSection, Outgoing, int], int]) -> type[MigrationRegion]:
    """The same while a buffer is there to be read."""

    class TellingOfBuffer(MigrationRegion):
        def read_offset(self) -> int:
            offset, outgoing = super().read_offset(), self._outgoing
            return offset if outgoing is None or not outgoing.offered else read(self.section, outgoing, offset)

    return TellingOfBuffer


defect("data-offset-zero", "data_offset reads 0")(reading(lambda region, offset: 0))
defect("data-offset-in-header", "in RESUMING data_offset is 24, among the registers")(
    reading(lambda region, offset: SIZE[0] if region.state == RESUMING else offset)
)
defect("data-offset-file-position", "data_offset counts from the start of the device's file, not of the region")(
    reading(lambda region, offset: _FILE_POSITION | offset)
)


@defect("data-offset-unaligned", "data_offset is 8 bytes past the start of a page although the data can be mapped")
class Unaligned(DataSection):
    def __init__(self, options: Options) -> None:
        super().__init__(options)
        first = self.start + 8
        self.largest_buffer = min(self.largest_buffer, self.end - first)
        self._places = self._lay_out(options, first)


@defect("data-offset-unaligned-later", "the second and later buffers are 8 bytes past the start of a page")
class UnalignedLater(DataSection):
    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.largest_buffer = min(self.largest_buffer, self.end - self.start - 8)
        self._places = self._lay_out(options, self.start)

    def place(self, number: int) -> int:
        return super().place(number) + (8 if number else 0)


# Mappable areas.


def areas(change: Callable[[DataSection, list[Area]], list[Area]]) -> type[DataSection]:
    """A section that reports other areas, if it reports any."""

    class Areas(DataSection):
        @property
        def areas(self) -> list[Area]:
            true = super().areas
            return change(self, true) if true else []

    return Areas


defect("area-covers-registers", "the mappable area starts at 0")(
    areas(lambda section, true: [(0, at + size) if at == section.start else (at, size) for at, size in true])
)
defect("area-second-covers-registers", "a second mappable area is the page of the registers")(
    areas(lambda section, true: [*true, (0, _PAGE)])
)
defect("area-outside-region", "the mappable area reaches one page past the region's end")(
    areas(lambda section, true: [(section.start, section.end + _PAGE - section.start)])
)
defect("area-empty", "a second mappable area has 0 bytes")(areas(lambda section, true: [*true, (_PAGE, 0)]))
defect("area-wraps", "a second mappable area begins below 2^64 and ends past it")(
    areas(lambda section, true: [*true, (2**64 - _PAGE, 2 * _PAGE)])
)

# data_offset again.

defect("offset-outside-section", "for the last buffer, data_offset + data_size is past the region's end")(
    reading_of_buffer(
        lambda section, outgoing, offset: (
            section.end - (outgoing.size() - 1) // _PAGE * _PAGE if 0 < outgoing.unsent <= outgoing.step else offset
        )
    )
)
defect("offset-in-registers", "for the second buffer, data_offset reads 16")(
    reading_of_buffer(lambda section, outgoing, offset: 16 if outgoing.number == 1 else offset)
)
defect("offset-high-half", "the high half of data_offset holds the number of the buffer")(
    reading_of_buffer(lambda section, outgoing, offset: offset | outgoing.number << 32)
)

# Reading and writing.


@defect("data-read-refused", "data that can be mapped cannot be read by a read")
class ReadRefused(DataSection):
    def read(self, offset: int, count: int) -> bytes | memoryview:
        if self.may_be_mapped(offset, count):
            raise Refusal(EINVAL)
        return super().read(offset, count)


@defect("data-write-refused", "data that can be mapped cannot be written by a write")
class WriteRefused(DataSection):
    def write(self, offset: int, data: bytes | memoryview) -> None:
        if self.may_be_mapped(offset, len(data)):
            raise Refusal(EINVAL)
        super().write(offset, data)


def refusing_reads(when: Callable[[int, int, Area], bool]) -> type[DataSection]:
    """A section that refuses some reads while a buffer is there; ``when`` is asked with offset, count, and buffer."""

    class RefusingReads(DataSection):
        def read(self, offset: int, count: int) -> bytes | memoryview:
            if self.present is not None and when(offset, count, self.present):
                raise Refusal(EINVAL)
            return super().read(offset, count)

    return RefusingReads


defect("data-read-refused-past-page", "reads that reach past the first page of a buffer answer EINVAL")(
    refusing_reads(lambda offset, count, buffer: offset + count > buffer[0] + _PAGE)
)
defect("data-read-whole-only", "a buffer must be read at once; other reads answer EINVAL")(
    refusing_reads(lambda offset, count, buffer: (offset, count) != buffer)
)
defect("data-read-narrow-refused", "reads of a buffer of less than 4 bytes answer EINVAL")(
    refusing_reads(lambda offset, count, buffer: count < _WORD)
)


@defect("data-read-narrow-misplaced", "reads of a buffer of less than 4 bytes begin at a multiple of 4")
class ReadNarrowMisplaced(DataSection):
    def read(self, offset: int, count: int) -> bytes | memoryview:
        if self.present is not None and count < _WORD:
            offset -= offset % _WORD
        return super().read(offset, count)


@defect("data-read-once", "bytes of a buffer read zero the second time")
class ReadOnce(DataSection):
    def read(self, offset: int, count: int) -> bytes | memoryview:
        data = super().read(offset, count)
        if self.present is None:
            return data
        once = bytes(data)
        self.room(offset)[:count] = bytes(count)
        return once


@defect("mapped-view-stale", "mapped memory shows the previous buffer")
class ViewStale(Apart):
    #: The content that the memory shows next.
    _before = b""

    def show(self, place: int, size: int) -> None:
        super().show(place, size)
        self._memory[:], self._before = self._before, bytes(self._served)

    def open(self) -> None:
        super().open()
        self._before = bytes(self.end)


@defect("mapped-view-first-page", "mapped memory shows only the first page of a buffer")
class ViewFirstPage(Apart):
    def show(self, place: int, size: int) -> None:
        super().show(place, size)
        end = place + min(size, _PAGE)
        self._memory[place:end] = self._served[place:end]


@defect("partition-torn", "reads past the first half of the data section are shifted by one byte")
class Torn(DataSection):
    def read(self, offset: int, count: int) -> bytes | memoryview:
        data = super().read(offset, count)
        if self.present is None or offset + count <= self._half:
            return data
        start = max(offset, self._half)
        return bytes(data[: start - offset]) + bytes(super().read(start - 1, offset + count - start))
