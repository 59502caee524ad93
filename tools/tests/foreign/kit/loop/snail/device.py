# SPDX-License-Identifier: GPL-2.0-only
"""An electronic-paper sign: everything that it does is slow.

BAR 0, the controller, 64 bytes:

    0x00  2  r   identity, 0xe1ac
    0x02  2  rw  command: 1 copies the panel's next rows to the host once, 2 does so again and again, 0 ends that
    0x04  4  r   refresh counter, increases every millisecond while the device runs
    0x08  4  rw  host address, low half        0x0c  4  rw  host address, high half
    0x10  4  rw  length of the copy
    0x14  2  r   status: bit 0 copies again and again, bit 1 a page is being turned, bit 2 the last copy failed
    0x16  2  w   turn the page: takes 15 ms, and continues when the device runs again
    0x20  2  rw  eight registers of the waveform, 2 bytes each

BAR 2 is the panel, 24 KiB, any width.

Data path: the panel's rows are written through a mapping of the client's file, or by DMA_WRITE without one. The written
pages are a set of page numbers. A transition or a reset takes 20 ms, a buffer 10 ms, a bitmap 2 ms.

Saved state: three plates, offered once the device is stopped, each with a header (magic, number, length, checksum), its
part, the registers or a half of the panel, and an imprint without meaning. They are collected in resuming, and printed
on the panel when resuming is left for running. No pages are pinned.
"""

from __future__ import annotations

import errno
import mmap
import struct
import sys
import time
import zlib
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from loop.wire import Device, Job, Mapping, Region, main, refuse

STOP, RUNNING, SAVING, PRE_COPY, RESUMING = 0, 1, 2, 3, 4
EVERY = {(1, 0), (1, 2), (1, 3), (3, 2), (2, 0), (1, 4), (4, 1), (3, 1), (2, 1), (0, 1), (0, 2), (2, 2)}
PANEL, HALF, PLACE, PLATE = 24 << 10, 12 << 10, 0x80, 16 << 10
TRANSITION, BUFFER, BITMAP, TURN = 0.020, 0.010, 0.002, 0.015
IMPRINT = b"printed at a snail's pace".ljust(64, b".")
HEAD = struct.Struct("<4sHHII")
REGISTERS = struct.Struct("<QdHIIIH16s")


class Snail(Device):
    def __init__(self, broken: str) -> None:
        self.broken = broken
        self.regions = {0: Region(64), 2: Region(PANEL), 9: Region(PLACE + PLATE, migration=True)}
        self.files: dict[int, mmap.mmap] = {}
        self.dirty: set[int] | None = None
        self.clean()

    def clean(self) -> None:
        self.state = RUNNING
        self.panel = bytearray(PANEL)
        self.waveform = bytearray(16)
        self.low = self.high = self.length = self.row = 0
        self.streams = self.failed = False
        self.refreshes, self.turning = 0.0, 0.0
        self.since = time.monotonic()
        self.stream_number = getattr(self, "stream_number", 0) + 1
        self.forget()

    def forget(self) -> None:
        """Forget all plates, saved or given."""
        self.plates: list[bytes] = []
        self.offered = False
        self.taken = 0
        self.pile: list[bytes] = []
        self.window = bytearray(PLATE)

    # ---- the sign ---------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        now = time.monotonic()
        if self.state & RUNNING:
            self.refreshes += (now - self.since) * 1000
            self.turning = max(0.0, self.turning - (now - self.since))
        self.since = now

    def rows(self, length: int) -> bytes:
        """The next rows of the panel, which begin with a running number, so that they all differ."""
        self.row = (self.row + 1) & 0xFFFFFFFF
        start = self.row * 64 % PANEL
        rows = struct.pack("<II", 0xE1AC0001, self.row) + self.panel[start:] + self.panel[:start]
        return (rows * (length // len(rows) + 1))[:length]

    def copy(self) -> Job:
        iova, length = self.high << 32 | self.low, self.length
        parts = self.server.lookup(iova, length)
        data = self.rows(length)
        for mapping, at, size in parts:
            if self.dirty is not None:
                page = self.server.page
                self.dirty.update(range(at // page, (at + size - 1) // page + 1))
            piece = data[at - iova : at - iova + size]
            if mapping.iova in self.files:
                self.files[mapping.iova][at - mapping.iova : at - mapping.iova + size] = piece
            else:
                yield from self.server.dma_write(at, piece)

    def stream(self, number: int) -> Job:
        while self.streams and number == self.stream_number:
            if self.state & RUNNING:
                try:
                    yield from self.copy()
                except OSError:
                    self.failed, self.streams = True, False
            yield 0.001

    def read(self, region: int, offset: int, count: int) -> Any:
        if region == 9:
            return self.read_migration(offset, count)
        if region == 2:
            return bytes(self.panel[offset : offset + count])
        self.tick()
        if 0x20 <= offset < 0x30 and count == 2 and offset % 2 == 0:
            return bytes(self.waveform[offset - 0x20 : offset - 0x1E])
        status = self.streams | (self.turning > 0) << 1 | self.failed << 2
        narrow = {0x00: 0xE1AC, 0x02: 2 * self.streams, 0x14: status}
        wide = {0x04: int(self.refreshes) & 0xFFFFFFFF, 0x08: self.low, 0x0C: self.high, 0x10: self.length}
        if count == 2 and offset in narrow:
            return struct.pack("<H", narrow[offset])
        if count == 4 and offset in wide:
            return struct.pack("<I", wide[offset])
        raise refuse(errno.EINVAL)

    def write(self, region: int, offset: int, data: bytes) -> Any:
        if region == 9:
            return self.write_migration(offset, data)
        if region == 2:
            self.panel[offset : offset + len(data)] = data
            return None
        value = int.from_bytes(data, "little")
        if 0x20 <= offset < 0x30 and len(data) == 2 and offset % 2 == 0:
            self.waveform[offset - 0x20 : offset - 0x1E] = data
        elif len(data) == 4 and offset in (0x08, 0x0C, 0x10):
            if offset == 0x08:
                self.low = value
            elif offset == 0x0C:
                self.high = value
            else:
                self.length = value
        elif len(data) == 2 and offset == 0x02:
            return self.command(value)
        elif len(data) == 2 and offset == 0x16:
            self.tick()
            self.turning = TURN
        else:
            raise refuse(errno.EINVAL)
        return None

    def command(self, value: int) -> Any:
        if value > 2 or (value and not 0 < self.length <= 1 << 20):
            raise refuse(errno.EINVAL)
        self.failed = False
        if value == 0:
            self.streams = False
        elif not self.state & RUNNING:
            raise refuse(errno.EBUSY)
        elif value == 1:
            return self.copy()
        elif not self.streams:
            self.start_stream()
        return None

    def start_stream(self) -> None:
        self.streams = True
        self.stream_number += 1
        self.server.spawn(self.stream(self.stream_number))

    # ---- memory -----------------------------------------------------------------------------------------------------

    def mapped(self, mapping: Mapping) -> None:
        if mapping.fd >= 0 and mapping.offset % mmap.PAGESIZE == 0:
            access = mmap.PROT_READ | (mmap.PROT_WRITE if mapping.flags & 2 else 0)
            try:
                file = mmap.mmap(mapping.fd, mapping.size, mmap.MAP_SHARED, access, offset=mapping.offset)
            except (ValueError, OverflowError) as problem:
                raise refuse(errno.EINVAL) from problem
            self.files[mapping.iova] = file

    def unmapped(self, mapping: Mapping) -> None:
        if mapping.iova in self.files:
            self.files.pop(mapping.iova).close()
        if self.dirty is not None:
            first, end = mapping.iova // self.server.page, mapping.end // self.server.page
            self.dirty = {page for page in self.dirty if not first <= page < end}

    def tracking(self) -> bool:
        return self.dirty is not None

    def track(self, on: bool) -> None:
        if not on:
            self.dirty = None
        elif self.dirty is None:
            self.dirty = set()

    def bitmap(self, iova: int, pages: int) -> Job:
        yield BITMAP
        first = iova // self.server.page
        assert self.dirty is not None
        chosen = {page for page in self.dirty if first <= page < first + pages}
        bits = sum(1 << page - first for page in chosen)
        self.dirty -= chosen
        return bits.to_bytes(-(-pages // 8), "little")

    # ---- migration --------------------------------------------------------------------------------------------------

    def opened(self) -> None:
        self.clean()

    def closed(self) -> None:
        self.dirty = None
        for file in self.files.values():
            file.close()
        self.files.clear()
        self.clean()

    def reset(self) -> Job:
        self.streams = False
        yield TRANSITION
        self.clean()

    def press(self) -> list[bytes]:
        """The plates of the present state."""
        self.tick()
        registers = REGISTERS.pack(
            int(self.refreshes),
            self.turning,
            self.streams,
            self.low,
            self.high,
            self.length,
            self.row & 0xFFFF,
            bytes(self.waveform),
        )
        parts = [registers, bytes(self.panel[:HALF]), bytes(self.panel[HALF:])]
        heads = [HEAD.pack(b"EPD1", n, 3, len(part), zlib.crc32(part)) for n, part in enumerate(parts)]
        return [head + part + IMPRINT for head, part in zip(heads, parts, strict=True)]

    def unpack(self, plate: bytes) -> tuple[int, bytes]:
        if len(plate) < HEAD.size + len(IMPRINT):
            raise refuse(errno.EINVAL)
        magic, number, many, length, check = HEAD.unpack_from(plate)
        part = plate[HEAD.size : -len(IMPRINT)]
        if magic != b"EPD1" or many != 3 or number > 2 or length != len(part) or check != zlib.crc32(part):
            raise refuse(errno.EINVAL)
        if length != (REGISTERS.size if number == 0 else HALF):
            raise refuse(errno.EINVAL)
        return number, part

    def print_pile(self) -> None:
        """Restore the given plates; without any, the device stays as it is."""
        parts = dict(map(self.unpack, self.pile))
        if not parts:
            return
        if len(parts) != 3:
            raise refuse(errno.EINVAL, "plates are missing")
        self.panel = bytearray(parts[1] + parts[2])
        refreshes, turning, streams, self.low, self.high, self.length, self.row, waveform = REGISTERS.unpack(parts[0])
        self.refreshes, self.turning, self.waveform = float(refreshes), turning, bytearray(waveform)
        self.streams = False
        if streams:
            self.start_stream()

    def change(self, new: int) -> Job:
        if (self.state, new) not in EVERY:
            raise refuse(errno.EINVAL)
        if new == self.state:
            return
        yield TRANSITION
        self.tick()
        if self.state == RESUMING:
            self.print_pile()
        self.forget()
        self.state = new
        if new == SAVING:
            self.plates = self.press()

    def read_migration(self, offset: int, count: int) -> Any:
        if offset < 32:
            return self.read_register(offset, count)
        if offset < PLACE:
            return bytes(count)
        return bytes(self.window[offset - PLACE : offset - PLACE + count])

    def read_register(self, offset: int, count: int) -> Any:
        if (offset, count) == (0, 4):
            return struct.pack("<I", self.state)
        if (offset, count) == (4, 4):
            return bytes(4)
        if (offset, count) == (8, 8):
            if self.offered:
                self.offered = False
                self.taken += 1
            return struct.pack("<Q", sum(map(len, self.plates[self.taken :])))
        if (offset, count) == (16, 8):
            return self.offer()
        if (offset, count) == (24, 8):
            return struct.pack("<Q", len(self.plates[self.taken]) if self.offered else 0)
        raise refuse(errno.EINVAL)

    def offer(self) -> Job:
        if not self.offered and self.taken < len(self.plates):
            plate = self.plates[self.taken]
            self.offered = True
            if self.broken == "wet-ink":  # the imprint is still being etched when the plate is offered
                self.window[: len(plate)] = plate[: -len(IMPRINT)] + bytes(len(IMPRINT))
                number = self.taken
                self.server.loop.after(BUFFER, lambda: self.dry(number))
            else:
                yield BUFFER
                self.window[: len(plate)] = plate
        yield from ()
        return struct.pack("<Q", PLACE)

    def dry(self, number: int) -> None:
        if self.offered and self.taken == number:
            self.window[: len(self.plates[number])] = self.plates[number]

    def write_migration(self, offset: int, data: bytes) -> Any:
        count = len(data)
        if offset >= 32:
            if self.state == RESUMING and offset >= PLACE:
                self.window[offset - PLACE : offset - PLACE + count] = data
                return None
            raise refuse(errno.EINVAL)
        value = int.from_bytes(data, "little")
        if (offset, count) == (0, 4):
            return self.change(value)
        if (offset, count) == (4, 4):
            return None
        if (offset, count) == (24, 8) and self.state == RESUMING:
            return self.lay(value)
        raise refuse(errno.EINVAL)

    def lay(self, size: int) -> Job:
        yield BUFFER
        if not 0 < size <= PLATE:
            raise refuse(errno.EINVAL)
        plate = bytes(self.window[:size])
        self.unpack(plate)
        self.pile.append(plate)


if __name__ == "__main__":
    main(Snail, __doc__, ("wet-ink",))
