# SPDX-License-Identifier: GPL-2.0-only
"""Resuming: which data is accepted, which is refused, and what happens to bad data."""

from __future__ import annotations

from errno import EINVAL, EIO

from ...device.machine import IMAGE, Machine
from ...overlays import defect
from ...refusal import Refusal
from ..region import MigrationRegion
from ..section import DataSection
from ..states import RESUMING
from ..stream import Image, Incoming
from .apart import Apart
from .history import History
from .saving import Undemanding

_PAGE, _WORD = 4096, 4
_LOW_HALF = 0xFFFF_FFFF


@defect("resuming-data-refused", "a write of data_size in RESUMING is refused")
class DataRefused(MigrationRegion):
    def write_size(self, size: int) -> None:
        raise Refusal(EINVAL)


@defect("resume-odd-size-refused", "in RESUMING a data_size that is not a multiple of 8 is refused")
class OddSizeRefused(MigrationRegion):
    def _take(self, incoming: Incoming, size: int) -> None:
        if size % 8:
            raise Refusal(EINVAL)
        super()._take(incoming, size)


@defect("resume-size-short", "a write of data_size in RESUMING reports 4 bytes written")
class SizeShort(MigrationRegion):
    def _write_size(self, value: int) -> int:
        super()._write_size(value)
        return 4


@defect("resume-again-refused", "data written in a second RESUMING since the last reset is refused")
class AgainRefused(History):
    def _take(self, incoming: Incoming, size: int) -> None:
        if self._resumed:
            raise Refusal(EINVAL)
        super()._take(incoming, size)


@defect(
    "resume-offset-marches", "in RESUMING data_offset advances by the largest buffer each time, past the region's end"
)
class OffsetMarches(MigrationRegion):
    def read_offset(self) -> int:
        behind = 0 if self._incoming is None else self._incoming.number
        return super().read_offset() + behind * self.section.largest_buffer


@defect("resuming-data-ignored", "data written in RESUMING is discarded")
class DataIgnored(Incoming):
    def take(self, buffer: memoryview) -> None:
        """Accept one buffer, and drop it."""


@defect("resume-again-ignored", "data written in a second RESUMING since the last reset is discarded")
class AgainIgnored(History):
    def _consume(self, incoming: Incoming, place: int, size: int) -> None:
        if not self._resumed:
            super()._consume(incoming, place, size)


@defect("resume-high-half-lost", "registers are restored without bits 32 and above")
class HighHalfLost(Machine):
    def load(self, image: bytes) -> None:
        super().load(IMAGE.pack(*(value & _LOW_HALF for value in IMAGE.unpack(image))))


@defect("resume-last-buffer-only", "only the last buffer written in RESUMING counts")
class LastBufferOnly(Incoming):
    def _store(self, content: memoryview, image: Image, start: int, checksum: int) -> int:
        self._memory[:] = bytes(len(self._memory))
        self._registers[:] = bytes(len(self._registers))
        return super()._store(content, image, start, checksum)


@defect("resume-drops-a-buffer", "the second buffer is accepted and discarded")
class DropsABuffer(Incoming):
    def _store(self, content: memoryview, image: Image, start: int, checksum: int) -> int:
        if self.number == 1:
            image, start = Image(memoryview(b""), bytearray(len(content))), 0
        return super()._store(content, image, start, checksum)


@defect("resume-first-page-only", "only the first page of each buffer is restored; the rest is zero")
class FirstPageOnly(Incoming):
    def _store(self, content: memoryview, image: Image, start: int, checksum: int) -> int:
        checksum = super()._store(content, image, start, checksum)
        if len(content) > _PAGE:
            for part in image.parts(start + _PAGE, len(content) - _PAGE):
                part[:] = bytes(len(part))
        return checksum


@defect("second-offset-refused", "in RESUMING data_offset can be read only once")
class SecondOffsetRefused(MigrationRegion):
    _offset_was_read = False

    def _move(self, new: int) -> None:
        super()._move(new)
        self._offset_was_read = False

    def read_offset(self) -> int:
        if self.state == RESUMING and self._offset_was_read:
            raise Refusal(EINVAL)
        self._offset_was_read = True
        return super().read_offset()


@defect("resume-offset-wants-pending", "in RESUMING data_offset cannot be read before pending_bytes has been read")
class OffsetWantsPending(MigrationRegion):
    _pending_was_read = False

    def _move(self, new: int) -> None:
        super()._move(new)
        self._pending_was_read = False

    def read_pending(self) -> int:
        self._pending_was_read = True
        return super().read_pending()

    def read_offset(self) -> int:
        if self.state == RESUMING and not self._pending_was_read:
            raise Refusal(EINVAL)
        return super().read_offset()


@defect("data-write-whole-only", "a buffer must be written at once; writes of parts answer EINVAL")
class WriteWholeOnly(MigrationRegion):
    #: Place and size of the only write to the data section since the last buffer.
    _written: tuple[int, int] | None = None

    def _move(self, new: int) -> None:
        super()._move(new)
        self._written = None

    def write(self, offset: int, data: bytes | memoryview) -> int:
        if self._incoming is not None and offset >= self.section.start:
            if self._written is not None or offset != self._place():
                raise Refusal(EINVAL)
            self._written = offset, len(data)
        return super().write(offset, data)

    def _take(self, incoming: Incoming, size: int) -> None:
        written, self._written = self._written, None
        if written not in (None, (self._place(), size)):
            raise Refusal(EINVAL)
        super()._take(incoming, size)


@defect("data-write-narrow-refused", "writes to the data section of less than 4 bytes answer EINVAL")
class WriteNarrowRefused(DataSection):
    def write(self, offset: int, data: bytes | memoryview) -> None:
        if len(data) < _WORD:
            raise Refusal(EINVAL)
        super().write(offset, data)


@defect("data-write-narrow-misplaced", "writes to the data section of less than 4 bytes go to a multiple of 4")
class WriteNarrowMisplaced(DataSection):
    def write(self, offset: int, data: bytes | memoryview) -> None:
        super().write(offset - offset % _WORD if len(data) < _WORD else offset, data)


@defect("mapped-writes-unseen", "data written through mapped memory is not seen")
class WritesUnseen(Apart):
    def show(self, place: int, size: int) -> None:
        super().show(place, size)
        self._memory[place : place + size] = self._served[place : place + size]

    def write(self, offset: int, data: bytes | memoryview) -> None:
        super().write(offset, data)
        self._served[offset : offset + len(data)] = data

    def taken(self, place: int, size: int) -> memoryview:
        return self._served[place : place + size]


@defect("data-consumed-late", "a buffer is consumed only at the next write of data_size, or when RESUMING is left")
class ConsumedLate(MigrationRegion):
    #: Place and size of the buffer that is still to be consumed.
    _waiting: tuple[int, int] | None = None

    def _move(self, new: int) -> None:
        super()._move(new)
        self._waiting = None

    def _take(self, incoming: Incoming, size: int) -> None:
        super()._take(incoming, size)
        if not size:
            self._consume_waiting(incoming)

    def _consume(self, incoming: Incoming, place: int, size: int) -> None:
        self._consume_waiting(incoming)
        self._waiting = place, size

    def _consume_waiting(self, incoming: Incoming) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            super()._consume(incoming, *waiting)

    def _finish_resuming(self, incoming: Incoming) -> None:
        self._consume_waiting(incoming)
        super()._finish_resuming(incoming)


@defect("bad-data-wedges", "once damaged data has been refused, every reset fails")
class BadDataWedges(MigrationRegion):
    _wedged = False

    def open(self) -> None:
        super().open()
        self._wedged = False

    def _consume(self, incoming: Incoming, place: int, size: int) -> None:
        try:
            super()._consume(incoming, place, size)
        except Refusal:
            self._wedged = True
            raise

    def reset(self) -> None:
        if self._wedged:
            raise Refusal(EIO)
        super().reset()


@defect("bad-data-swallowed", "damaged data is accepted and discarded, and RESUMING can be left with the rest")
class BadDataSwallowed(Undemanding):
    def take(self, buffer: memoryview) -> None:
        try:
            super().take(buffer)
        except Refusal:
            return


@defect("bad-size-outlives-reset", "after a data_size larger than the section was refused, reset ends in RESUMING")
class BadSizeOutlivesReset(MigrationRegion):
    _was_bad = False

    def _take(self, incoming: Incoming, size: int) -> None:
        self._was_bad |= size > self.section.end - self._place()
        super()._take(incoming, size)

    def reset(self) -> None:
        was_bad, self._was_bad = self._was_bad, False
        if was_bad:
            self._force(RESUMING)
        else:
            super().reset()


@defect("half-state-reads-next", "when leaving RESUMING is refused, device_state reads the refused state")
class HalfStateReadsNext(MigrationRegion):
    def _make_transition(self, new: int) -> None:
        try:
            super()._make_transition(new)
        except Refusal:
            self.state = new
            raise


@defect("early-leave-wedges", "leaving RESUMING without data succeeds, and device_state then reads 101b")
class EarlyLeaveWedges(MigrationRegion):
    def _make_transition(self, new: int) -> None:
        early = self._incoming is not None and not self._incoming.touched
        super()._make_transition(new)
        if early:
            self.state = 0b101
