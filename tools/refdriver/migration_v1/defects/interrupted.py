# SPDX-License-Identifier: GPL-2.0-only
"""What a broken region does to the rest of a state after a repeated step or a refused access."""

from __future__ import annotations

from errno import EINVAL

from ...overlays import defect
from ...refusal import Refusal
from ..region import SIZE, MigrationRegion
from ..states import RESUMING, STOP_AND_COPY
from ..stream import Incoming, Outgoing

_BELOW_NOTHING = (1 << 64) - 8208

#: More reads of data_size than this are too many for a broken device.
_OFTEN = 10


class Rereading(MigrationRegion):
    """Notes repeated reads for the present buffer."""

    _read_to = 0
    _data_again = _offset_again = False

    def _move(self, new: int) -> None:
        super()._move(new)
        self._read_to = 0
        self._data_again = self._offset_again = False

    def _put(self, outgoing: Outgoing) -> None:
        super()._put(outgoing)
        self._read_to = 0
        self._data_again = self._offset_again = False

    def read_offset(self) -> int:
        self._offset_again |= self._outgoing is not None and self._outgoing.offered
        return super().read_offset()

    def read(self, offset: int, count: int) -> bytes | memoryview:
        if self._outgoing is not None and offset >= self.section.start:
            self._data_again |= offset < self._read_to
            self._read_to = offset + count
        return super().read(offset, count)


@defect("reread-data-endless", "once a buffer has been read twice, bytes are pending forever")
class DataEndless(Rereading):
    _endless = False

    def _move(self, new: int) -> None:
        super()._move(new)
        self._endless = False

    def read_pending(self) -> int:
        self._endless |= self._data_again
        left = super().read_pending()
        return left or (_BELOW_NOTHING if self._endless else 0)


@defect(
    "reread-offset-skips",
    "after a repeated read of data_offset in the middle of the stream, the next buffer is skipped",
)
class OffsetSkips(Rereading):
    def read_pending(self) -> int:
        outgoing = self._outgoing
        again = self.state == STOP_AND_COPY and self._offset_again
        self._offset_again = False
        if again and outgoing is not None and outgoing.offered and 0 < outgoing.number < 3:
            outgoing.advance()
            outgoing.position += min(outgoing.step, outgoing.unsent)
        return super().read_pending()


@defect("reread-size-shrinks", "after more than ten reads for one buffer, data_size reads one less")
class SizeShrinks(MigrationRegion):
    _times = 0

    def _put(self, outgoing: Outgoing) -> None:
        super()._put(outgoing)
        self._times = 0

    def read_size(self) -> int:
        size = super().read_size()
        self._times += 1
        return size - 1 if size and self._times > _OFTEN else size


class Refusing(MigrationRegion):
    """Notes refusals."""

    def _has_refused(self, offset: int, writes: bool) -> None:
        """An access to the registers was refused."""

    def read(self, offset: int, count: int) -> bytes | memoryview:
        try:
            return super().read(offset, count)
        except Refusal:
            self._has_refused(offset, False)
            raise

    def write(self, offset: int, data: bytes | memoryview) -> int:
        try:
            return super().write(offset, data)
        except Refusal:
            self._has_refused(offset, True)
            raise


@defect("refused-read-ends-state", "once a read has been refused in stop-and-copy, no more data is offered")
class ReadEndsState(Refusing):
    def _has_refused(self, offset: int, writes: bool) -> None:
        if not writes and self._outgoing is not None and self._outgoing.number:
            self._outgoing.end()


@defect("refused-state-changes-size", "once a write of device_state has been refused, buffers are one byte short")
class StateChangesSize(Refusing):
    _refused = False

    def _move(self, new: int) -> None:
        super()._move(new)
        self._refused = False

    def _has_refused(self, offset: int, writes: bool) -> None:
        self._refused |= writes and not offset and self.state == STOP_AND_COPY

    def read_size(self) -> int:
        size = super().read_size()
        fresh = self._outgoing is not None and self._outgoing.number > 1
        return size - 1 if self._refused and size and fresh else size


@defect(
    "refused-size-read-advances",
    "a partial read of data_size is refused, but the next buffer overwrites the present one",
)
class SizeReadAdvances(Refusing):
    def _has_refused(self, offset: int, writes: bool) -> None:
        outgoing = self._outgoing
        if writes or offset != SIZE[0] or outgoing is None:
            return
        if outgoing.offered and outgoing.unsent > outgoing.length:
            outgoing.advance()
            self._put(outgoing)


@defect(
    "refused-size-write-skips",
    "a write of data_size while saving is refused, but the next buffer to be offered is skipped",
)
class SizeWriteSkips(MigrationRegion):
    def write_size(self, size: int) -> None:
        outgoing = self._outgoing
        if outgoing is not None:
            outgoing.position += min(outgoing.step, outgoing.unsent - outgoing.length)
        super().write_size(size)


@defect("rewritten-data-refused", "a buffer of which a part was written twice is refused")
class RewrittenRefused(MigrationRegion):
    _written_to = 0
    _again = False

    def _move(self, new: int) -> None:
        super()._move(new)
        self._written_to, self._again = 0, False

    def write(self, offset: int, data: bytes | memoryview) -> int:
        if self._incoming is not None and offset >= self.section.start:
            self._again |= offset < self._written_to
            self._written_to = offset + len(data)
        return super().write(offset, data)

    def _take(self, incoming: Incoming, size: int) -> None:
        again, self._again, self._written_to = self._again, False, 0
        if again:
            raise Refusal(EINVAL)
        super()._take(incoming, size)


@defect("offset-again-drops-buffer", "in RESUMING a buffer is dropped if data_offset is read again after its data")
class OffsetAgainDrops(MigrationRegion):
    _offsets = 0

    def _move(self, new: int) -> None:
        super()._move(new)
        self._offsets = 0

    def read_offset(self) -> int:
        self._offsets += self._incoming is not None
        return super().read_offset()

    def _consume(self, incoming: Incoming, place: int, size: int) -> None:
        drops, self._offsets = self._offsets > 1 and incoming.number == 2, 0
        if drops:
            self.section.room(place)[: size - 5] = bytes(size - 5)
        super()._consume(incoming, place, size)


@defect("refused-forgets-given", "once an access has been refused in RESUMING, the data written before it is forgotten")
class ForgetsGiven(Refusing):
    def _has_refused(self, offset: int, writes: bool) -> None:
        if self.state == RESUMING and self._incoming is not None and self._incoming.number:
            self._incoming.complete = False
            self._incoming.number = 0
            self._incoming._position = 0
