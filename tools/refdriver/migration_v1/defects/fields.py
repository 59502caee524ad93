# SPDX-License-Identifier: GPL-2.0-only
"""The other fields of the header: what can be written to them, and what they read."""

from __future__ import annotations

from collections.abc import Callable
from errno import EINVAL

from ...overlays import defect
from ...refusal import Refusal
from ..region import MigrationRegion
from ..states import PRE_COPY


@defect("reserved-garbage", "reserved reads 0xdeadbeef")
class ReservedGarbage(MigrationRegion):
    def _read_reserved(self) -> int:
        return 0xDEADBEEF


@defect("reserved-read-refused", "reading reserved answers EINVAL")
class ReservedReadRefused(MigrationRegion):
    def _read_reserved(self) -> int:
        raise Refusal(EINVAL)


@defect("reserved-stale", "reserved reads the value of the register read before it")
class ReservedStale(MigrationRegion):
    _last_read = 0

    def read(self, offset: int, count: int) -> bytes | memoryview:
        data = super().read(offset, count)
        if (offset, count) in self._registers:
            self._last_read = int.from_bytes(data, "little")
        return data

    def _read_reserved(self) -> int:
        return self._last_read & 0xFFFF_FFFF


@defect("reserved-write-refused", "writing reserved answers EINVAL")
class ReservedWriteRefused(MigrationRegion):
    def _write_reserved(self, value: int) -> int:
        raise Refusal(EINVAL)


@defect("reserved-write-empty", "writing reserved answers 0 bytes")
class ReservedWriteEmpty(MigrationRegion):
    def _write_reserved(self, value: int) -> int:
        super()._write_reserved(value)
        return 0


def storing(bits: int) -> type[MigrationRegion]:
    """A region that keeps some bits of values written to reserved, until the next transition."""

    class Storing(MigrationRegion):
        _reserved = 0

        def _move(self, new: int) -> None:
            super()._move(new)
            self._reserved = 0

        def _write_reserved(self, value: int) -> int:
            self._reserved = value & bits
            return super()._write_reserved(value)

        def _read_reserved(self) -> int:
            return self._reserved

    return Storing


defect("reserved-stored", "reserved keeps and returns the written value")(storing(0xFFFF_FFFF))
defect("reserved-stored-in-part", "reserved keeps and returns the low byte of the written value")(storing(0xFF))


def pending_writable(when: Callable[[MigrationRegion], bool]) -> type[MigrationRegion]:
    """A region whose pending_bytes can be set, until the next transition."""

    class PendingWritable(MigrationRegion):
        _set_pending: int | None = None

        def _move(self, new: int) -> None:
            super()._move(new)
            self._set_pending = None

        def _write_pending(self, value: int) -> int:
            if not when(self):
                return super()._write_pending(value)
            self._set_pending = value
            return 8

        def read_pending(self) -> int:
            pending = super().read_pending()
            return pending if self._set_pending is None else self._set_pending

    return PendingWritable


defect("pending-writable", "a write of pending_bytes sets it")(pending_writable(lambda region: True))
defect("pending-writable-in-pre-copy", "in pre-copy a write of pending_bytes sets it")(
    pending_writable(lambda region: region.state == PRE_COPY)
)


@defect("pending-write-zero-ends", "a write of 0 to pending_bytes ends the data")
class PendingWriteZeroEnds(MigrationRegion):
    def _write_pending(self, value: int) -> int:
        if not value and self._outgoing is not None:
            self._outgoing.end()
        return super()._write_pending(value)


class OffsetWritable(MigrationRegion):
    """Its data_offset can be set, until the next transition."""

    _set_offset: int | None = None

    def _move(self, new: int) -> None:
        super()._move(new)
        self._set_offset = None

    def _may_set_offset(self, value: int) -> bool:
        return True

    def _write_offset(self, value: int) -> int:
        if not self._may_set_offset(value):
            return super()._write_offset(value)
        self._set_offset = value
        return 8

    def read_offset(self) -> int:
        offset = super().read_offset()
        return offset if self._set_offset is None else self._set_offset


defect("data-offset-writable", "a write of data_offset moves it")(OffsetWritable)


@defect("data-offset-writable-while-saving", "while saving a write of data_offset moves it")
class OffsetWritableWhileSaving(OffsetWritable):
    def _may_set_offset(self, value: int) -> bool:
        return self._outgoing is not None


@defect("data-offset-high-half-writable", "a write of 2^32 or more to data_offset moves it")
class OffsetHighHalfWritable(OffsetWritable):
    def _may_set_offset(self, value: int) -> bool:
        return value >> 32 > 0
