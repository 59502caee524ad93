# SPDX-License-Identifier: GPL-2.0-only
"""The record of pages: what a write adds, what a query removes, and what it reports on other pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ...overlays import defect
from ..dirty import DirtyTracker, Mapped
from ..pages import Bitmap, PageSet
from ..ranges import Extent
from .history import Beginning
from .spoiling import WORD, Range, Spoilt, ones, spoiling

#: Writes that a log between two queries holds.
_MOST_LOGGED = 8


@contextmanager
def unrecorded(tracker: DirtyTracker) -> Iterator[None]:
    """Writes of the device within the block are not recorded."""
    tracking, tracker.tracking = tracker.tracking, False
    try:
        yield
    finally:
        tracker.tracking = tracking


@defect("bitmap-unmapped-lingers", "dirty pages stay reported after they were unmapped")
class UnmappedLingers(DirtyTracker):
    def forget(self, address: int, size: int) -> None:
        """Nothing is forgotten."""


@defect("bitmap-buffer-reused", "GET_BITMAP also reports the pages of the previous query, whatever its range")
class BufferReused(Spoilt):
    _left_over = 0

    def get(self, address: int, size: int, room: int) -> Bitmap:
        bitmap = super().get(address, size, room)
        self._respell(bitmap, address, size, self._add)
        return bitmap

    def _add(self, bits: int, _: Range) -> int:
        before, self._left_over = self._left_over, bits
        return bits | before

    def stop(self) -> None:
        super().stop()
        self._left_over = 0


def _mapped(of: Range) -> int:
    """All pages that are mapped."""
    return sum(ones(low, high) for low, high in of.mapped)


def _whole_words(bits: int, of: Range) -> int:
    words = (ones(at, at + WORD) for at in range(0, of.used, WORD) if bits & ones(at, at + WORD))
    return bits | sum(words) & _mapped(of)


defect("bitmap-hole-bits", "GET_BITMAP reports pages that are not mapped")(
    spoiling(lambda bits, of: bits | ones(0, of.pages) & ~_mapped(of))
)
defect("bitmap-everything-dirty", "GET_BITMAP reports every mapped page")(spoiling(lambda bits, of: bits | _mapped(of)))
defect("bitmap-word-dirty", "GET_BITMAP reports all mapped pages that share a word with a dirty one")(
    spoiling(_whole_words)
)


@defect("bitmap-new-mapping-dirty", "the pages of a mapping made while pages are tracked are reported once")
class NewMappingDirty(Beginning):
    def get(self, address: int, size: int, room: int) -> Bitmap:
        bitmap = super().get(address, size, room)
        first, end = self._pages(address, size)
        for start, length in self._mapped(address, size):
            if start not in self._old:
                low, high = self._pages(start, length)
                bitmap.fill(max(low, first) - first, min(high, end) - first)
                self._old.add(start)
        return bitmap


@defect("bitmap-not-cleared", "a reported page stays reported")
class NotCleared(DirtyTracker):
    def _clear(self, first: int, end: int) -> None:
        return


@defect("bitmap-clears-too-much", "GET_BITMAP also forgets the pages beside its range, up to the next multiple of 64")
class ClearsTooMuch(DirtyTracker):
    def _clear(self, first: int, end: int) -> None:
        super()._clear(first // WORD * WORD, -(-end // WORD) * WORD)


@defect(
    "bitmap-unaligned-base",
    "after a range that begins in the middle of a 64-page word of a mapping, later bits are shifted",
)
class UnalignedBase(Spoilt):
    _skew = 0

    def get(self, address: int, size: int, room: int) -> Bitmap:
        bitmap = super().get(address, size, room)
        skew = self._skew
        self._respell(bitmap, address, size, lambda bits, of: bits << skew)
        off = ((address - start) // self.page_size % WORD for start, _ in self._mapped(address, size))
        self._skew = skew or next(off, 0)
        return bitmap

    def stop(self) -> None:
        super().stop()
        self._skew = 0


@defect("bitmap-set-once", "a reported page is not reported again until the next STOP and START")
class SetOnce(Spoilt):
    def __init__(self, mapped: Mapped, scope: str) -> None:
        super().__init__(mapped, scope)
        self._reported = PageSet()

    def get(self, address: int, size: int, room: int) -> Bitmap:
        bitmap = super().get(address, size, room)
        self._respell(bitmap, address, size, self._take_out)
        return bitmap

    def _take_out(self, bits: int, of: Range) -> int:
        for page, reported in self._reported.within(of.first, of.first + of.pages):
            bits &= ~(reported << page - of.first if page >= of.first else reported >> of.first - page)
        for bit in range(bits.bit_length()):
            if bits >> bit & 1:
                self._reported.add(of.first + bit, of.first + bit + 1)
        return bits

    def stop(self) -> None:
        super().stop()
        self._reported.clear()


class Partial(DirtyTracker):
    """Records some parts of a write."""

    def wrote(self, address: int, length: int) -> None:
        for part in self._noticed(address, length):
            super().wrote(*part)

    def _noticed(self, address: int, length: int) -> list[Extent]:
        return [(address, length)]


@defect("bitmap-misses-long-write", "only the first page of a write to several pages is recorded")
class MissesLongWrite(Partial):
    def _noticed(self, address: int, length: int) -> list[Extent]:
        return [(address, 1)]


@defect("bitmap-long-write-ends", "only the first and the last page of a write to several pages are recorded")
class LongWriteEnds(Partial):
    def _noticed(self, address: int, length: int) -> list[Extent]:
        return [(address, 1), (address + length - 1, 1)]


@defect(
    "bitmap-write-stops-at-word",
    "a write across a multiple of 64 pages is recorded only up to that page",
)
class WriteStopsAtWord(Partial):
    def _noticed(self, address: int, length: int) -> list[Extent]:
        word = WORD * self.page_size
        return [(address, min(length, word - address % word))]


@defect("bitmap-log-overflows", "only the first eight writes between two queries are recorded")
class LogOverflows(DirtyTracker):
    _logged = 0

    def wrote(self, address: int, length: int) -> None:
        if self.tracking:
            self._logged += 1
        if self._logged <= _MOST_LOGGED:
            super().wrote(address, length)

    def get(self, address: int, size: int, room: int) -> Bitmap:
        self._logged = 0
        return super().get(address, size, room)

    def stop(self) -> None:
        super().stop()
        self._logged = 0


@defect("bitmap-drops-every-64th", "every 64th write is not recorded")
class DropsEvery64th(DirtyTracker):
    _writes = 0

    def wrote(self, address: int, length: int) -> None:
        self._writes += self.tracking
        if self._writes % 64:
            super().wrote(address, length)


class Distinguishing(DirtyTracker):
    """Distinguishes the writes of the DMA stream from others."""

    streaming = False


@defect(
    "bitmap-race",
    "pages that GET_BITMAP reported are cleared only after the DMA stream's next write, which is lost",
)
class Race(Distinguishing):
    #: Pages that were reported but not yet cleared.
    _overdue = (0, 0)

    def _clear(self, first: int, end: int) -> None:
        self._overdue = (first, end)

    def _settle(self) -> None:
        super()._clear(*self._overdue)
        self._overdue = (0, 0)

    def wrote(self, address: int, length: int) -> None:
        if not self.streaming:
            self._settle()
        super().wrote(address, length)
        if self.streaming:
            self._settle()

    def get(self, address: int, size: int, room: int) -> Bitmap:
        self._settle()
        return super().get(address, size, room)

    def get_unmapped(self, address: int, size: int, room: int) -> Bitmap:
        self._settle()
        return super().get_unmapped(address, size, room)

    def stop(self) -> None:
        super().stop()
        self._overdue = (0, 0)


@defect("stream-untracked", "writes of the DMA stream are not recorded")
class StreamUntracked(Distinguishing):
    def wrote(self, address: int, length: int) -> None:
        if not self.streaming:
            super().wrote(address, length)
