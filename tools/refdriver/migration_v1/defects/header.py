# SPDX-License-Identifier: GPL-2.0-only
"""The header: where its registers are, and reads and writes of anything but one whole register."""

from __future__ import annotations

from errno import EAGAIN, EINVAL

from ...overlays import defect
from ...refusal import Refusal
from ..region import HEADER_SIZE, PENDING, RESERVED, SIZE, STATE, MigrationRegion, Place, Register
from ..states import PRE_COPY


@defect("header-shifted", "all registers of the migration region are 8 bytes further on")
class Shifted(MigrationRegion):
    def _lay_out(self) -> dict[Place, Register]:
        return {(offset + 8, width): register for (offset, width), register in super()._lay_out().items()}


@defect("header-late", "on a newly opened device, the first read of device_state answers EAGAIN")
class Late(MigrationRegion):
    _unread = False

    def open(self) -> None:
        super().open()
        self._unread = True

    def _force(self, state: int) -> None:
        super()._force(state)
        self._unread = False

    def read_state(self) -> int:
        if self._unread:
            self._unread = False
            raise Refusal(EAGAIN)
        return super().read_state()


@defect("pending-misplaced", "pending_bytes is at offset 4 and reserved at 12")
class PendingMisplaced(MigrationRegion):
    def _lay_out(self) -> dict[Place, Register]:
        registers = super()._lay_out()
        registers[4, 8], registers[12, 4] = registers.pop(PENDING), registers.pop(RESERVED)
        return registers


@defect("size-read-short", "in pre-copy a read of data_size returns only four bytes")
class SizeReadShort(MigrationRegion):
    def read(self, offset: int, count: int) -> bytes | memoryview:
        data = super().read(offset, count)
        return data[:4] if (offset, count) == SIZE and self.state == PRE_COPY else data


class OddWidths(MigrationRegion):
    """Answers accesses to anything but one whole register in its own way."""

    def read(self, offset: int, count: int) -> bytes | memoryview:
        if (offset, count) in self._registers or offset >= self.section.start:
            return super().read(offset, count)
        end = offset + count
        met = [place for place in sorted(self._registers) if place[0] < end and offset < sum(place)]
        return self._read_oddly(offset, count, met)

    def write(self, offset: int, data: bytes | memoryview) -> int:
        if (offset, len(data)) in self._registers or offset >= self.section.start:
            return super().write(offset, data)
        return self._write_oddly(offset, data)

    def _read_oddly(self, offset: int, count: int, met: list[Place]) -> bytes | memoryview:
        """``met``: the registers that overlap the read."""
        return super().read(offset, count)

    def _write_oddly(self, offset: int, data: bytes | memoryview) -> int:
        return super().write(offset, data)

    def _whole(self, place: Place) -> bytes:
        """The value of one register."""
        return self._registers[place].read().to_bytes(place[1], "little")

    def _cut(self, offset: int, count: int, met: list[Place]) -> bytes:
        """A part of several registers; EINVAL if it is not wholly inside them."""
        if not met or offset < met[0][0] or offset + count > sum(met[-1]):
            raise Refusal(EINVAL)
        start = offset - met[0][0]
        return b"".join(map(self._whole, met))[start : start + count]


@defect("width-byte-read-accepted", "1-byte reads of a register succeed")
class ByteRead(OddWidths):
    def _read_oddly(self, offset: int, count: int, met: list[Place]) -> bytes | memoryview:
        return self._cut(offset, count, met) if count == 1 else super()._read_oddly(offset, count, met)


@defect("width-straddling-read-accepted", "reads that span several registers succeed")
class StraddlingRead(OddWidths):
    def _read_oddly(self, offset: int, count: int, met: list[Place]) -> bytes | memoryview:
        return self._cut(offset, count, met) if len(met) > 1 else super()._read_oddly(offset, count, met)


@defect("width-read-short", "a longer read that begins at a register returns only that register")
class ReadShort(OddWidths):
    def _read_oddly(self, offset: int, count: int, met: list[Place]) -> bytes | memoryview:
        if met and met[0][0] == offset and met[0][1] < count:
            return self._whole(met[0])
        return super()._read_oddly(offset, count, met)


@defect("width-read-empty", "a read of anything but one whole register returns 0 bytes instead of an error")
class ReadEmpty(OddWidths):
    def _read_oddly(self, offset: int, count: int, met: list[Place]) -> bytes | memoryview:
        return b""


@defect("width-several-registers-read", "reads of all registers from pending_bytes on, or of two of them, succeed")
class SeveralRegistersRead(OddWidths):
    def _read_oddly(self, offset: int, count: int, met: list[Place]) -> bytes | memoryview:
        if offset == PENDING[0] and count in (16, 24):
            return self._cut(offset, count, met)
        return super()._read_oddly(offset, count, met)


@defect("width-read-past-header", "8-byte reads of the last four bytes of the header and the next four succeed")
class ReadPastHeader(OddWidths):
    def _read_oddly(self, offset: int, count: int, met: list[Place]) -> bytes | memoryview:
        if (offset, count) == (HEADER_SIZE - 4, 8):
            return self._whole(SIZE)[4:] + bytes(4)
        return super()._read_oddly(offset, count, met)


@defect("width-halfword-write-applied", "a 2-byte write of device_state takes effect")
class HalfwordWrite(OddWidths):
    def _write_oddly(self, offset: int, data: bytes | memoryview) -> int:
        if offset == STATE[0] and len(data) == 2:
            self._write_state(int.from_bytes(data, "little"))
            return 2
        return super()._write_oddly(offset, data)


@defect("width-refused-but-applied", "a 1-byte write of device_state answers an error, yet takes effect")
class RefusedButApplied(OddWidths):
    def _write_oddly(self, offset: int, data: bytes | memoryview) -> int:
        if offset == STATE[0] and len(data) == 1:
            self._write_state(data[0])
        return super()._write_oddly(offset, data)


@defect(
    "width-wide-write-applied",
    "an 8-byte write at device_state writes its first four bytes, and reports 4",
)
class WideWrite(OddWidths):
    def _write_oddly(self, offset: int, data: bytes | memoryview) -> int:
        if offset == STATE[0] and len(data) == 8:
            return self._write_state(int.from_bytes(data[:4], "little"))
        return super()._write_oddly(offset, data)


@defect("width-write-ignored", "a write of anything but one whole register is ignored, and reported as done")
class WriteIgnored(OddWidths):
    def _write_oddly(self, offset: int, data: bytes | memoryview) -> int:
        return len(data)


@defect(
    "width-write-past-header", "8-byte writes at the last four bytes of the header are ignored, and reported as done"
)
class WritePastHeader(OddWidths):
    def _write_oddly(self, offset: int, data: bytes | memoryview) -> int:
        return 8 if (offset, len(data)) == (HEADER_SIZE - 4, 8) else super()._write_oddly(offset, data)
