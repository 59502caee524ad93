# SPDX-License-Identifier: GPL-2.0-only
"""A thermal camera that has to warm up: the first answers are slow, all later ones are not.

BAR 0, registers of 1 and of 8 bytes:

    0x00  8  r   frame counter, increases every millisecond while the device runs
    0x08  1  rw  gain          0x09  1  rw  shutter         0x0a  1  rw  palette
    0x0b  1  r   status: bit 0 films, bit 7 the last frame could not be written
    0x10  8  rw  host address  0x18  8  rw  length of a frame in bytes
    0x20  1  w   1 takes one frame, 2 films, 0 ends that
    0x28  8  w   pins the pages from this address on, of the size of a frame; 0x30 unpins them
    0x38  8  rw  pushes a mark into a queue of sixteen; reads the newest one
    0x40  8  r   how many marks were ever pushed

BAR 1 is the table that corrects the pixels, 32 KiB in 64 blocks, any width; zero where it is as it left the factory.

Data path: frames are sent by DMA_WRITE messages, a page each. Dirty pages are bytes of one array for each mapping.

Saved state: records of a kind and a number; first the blocks of the table that differ from the factory's, as soon as
pre-copy begins and again after a change, up to 15 in a buffer; at the end the registers. The section has two windows
that can be mapped, used in turn. It is restored into a copy, which replaces the table when resuming is left.

The slow answers are the first VERSION, 1 s after the start of a server, and the first data_offset in each saving state.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from loop.wire import Device, Job, Mapping, Region, main, refuse

RUNNING, SAVING, RESUMING = 1, 2, 4
STATES = (0, 1, 2, 3, 4)
DRAWN = {(1, 0), (1, 2), (1, 3), (3, 2), (2, 0), (1, 4), (4, 1)}
ALSO = {(3, 1), (2, 1), (0, 1), (0, 2)} | {(state, state) for state in STATES}
TABLE, BLOCK, AT_ONCE = 32 << 10, 512, 15
WINDOW, WINDOWS = 8 << 10, (0x1000, 0x3000)
RECORD = struct.Struct("<BBH")
GEOMETRY, CORRECTION, REGISTERS = 1, 2, 3
PLAIN = struct.Struct("<QBBBBQQQ16Q")


class Camera(Device):
    def __init__(self, broken: str) -> None:
        self.broken = broken
        self.born = time.monotonic()
        self.woken = False
        self.memory = os.memfd_create("section")
        os.ftruncate(self.memory, 0x5000)
        self.regions = {
            0: Region(0x48),
            1: Region(TABLE),
            9: Region(0x5000, migration=True, areas=[(0x1000, 0x4000)], fd=self.memory),
        }
        self.records: dict[int, set[int]] | None = None
        self.pins: Counter[int] = Counter()
        self.film = 0
        self.clean()

    def clean(self) -> None:
        self.state = RUNNING
        self.table = bytearray(TABLE)
        self.written: set[int] = set()
        self.frames, self.since = 0.0, time.monotonic()
        self.bytes = bytearray(3)
        self.address = self.length = self.marked = 0
        self.marks: deque[int] = deque([0] * 16, 16)
        self.films = self.failed = False
        self.film += 1
        self.begin()

    def begin(self) -> None:
        """Begin a session of migration, if the state has one."""
        self.unsent = set(self.written)
        self.introduced = self.finished = False
        self.offered: set[int] | None = None
        self.offering = b""
        self.cold = True
        self.turn = 0
        self.given: dict[int, bytes] = {}
        self.final = b""
        self.started = False

    def greeted(self) -> Job:
        if not self.woken:
            yield max(0.0, self.born + 1 - time.monotonic())
        self.woken = True

    def opened(self) -> None:
        self.clean()

    def closed(self) -> None:
        self.records = None
        self.pins.clear()
        self.clean()

    def reset(self) -> None:
        for page in list(self.pins):
            self.mark(page * self.server.page, 1)
        self.pins.clear()
        self.clean()

    # ---- the camera -------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        now = time.monotonic()
        if self.state & RUNNING:
            self.frames += (now - self.since) * 1000
        self.since = now

    def frame(self, length: int) -> bytes:
        """Pixels that begin with the time, so that no two frames are the same."""
        one = struct.pack("<Q", time.monotonic_ns()) + bytes(self.bytes) + b"camera"
        return (one * (length // len(one) + 1))[:length]

    def expose(self, number: int | None) -> Job:
        """Send one frame; a frame of a film ends with the film."""
        at, end = self.address, self.address + self.length
        self.server.lookup(at, self.length)
        pixels = self.frame(self.length)
        while at < end:
            size = min(end, (at // 4096 + 1) * 4096) - at
            if number is not None and (number != self.film or not self.state & RUNNING):
                return
            self.server.lookup(at, size)
            self.mark(at, size)
            yield from self.server.dma_write(at, pixels[at - end : at - end + size or None])
            at += size

    def filming(self, number: int) -> Job:
        while number == self.film:
            if self.state & RUNNING:
                try:
                    yield from self.expose(number)
                except OSError:
                    self.failed, self.films = True, False
                    return
            yield 0.003

    def read(self, region: int, offset: int, count: int) -> Any:
        if region == 9:
            return self.read_migration(offset, count)
        if region == 1:
            return bytes(self.table[offset : offset + count])
        self.tick()
        if count == 1 and 8 <= offset < 0x0B:
            return bytes(self.bytes[offset - 8 : offset - 7])
        if (offset, count) == (0x0B, 1):
            return bytes([self.films | self.failed << 7])
        wide = {0: int(self.frames), 0x10: self.address, 0x18: self.length, 0x38: self.marks[-1], 0x40: self.marked}
        if count == 8 and offset in wide:
            return struct.pack("<Q", wide[offset])
        raise refuse(errno.EINVAL)

    def write(self, region: int, offset: int, data: bytes) -> Any:
        if region == 9:
            return self.write_migration(offset, data)
        if region == 1:
            self.table[offset : offset + len(data)] = data
            blocks = range(offset // BLOCK, (offset + len(data) - 1) // BLOCK + 1)
            self.written.update(blocks)
            self.unsent.update(blocks)
            return None
        if len(data) == 1 and 8 <= offset < 0x0B:
            self.bytes[offset - 8] = data[0]
        elif len(data) == 1 and offset == 0x20:
            return self.trigger(data[0])
        elif len(data) == 8 and offset in (0x10, 0x18, 0x28, 0x30, 0x38):
            self.write_wide(offset, struct.unpack("<Q", data)[0])
        else:
            raise refuse(errno.EINVAL)
        return None

    def write_wide(self, offset: int, value: int) -> None:
        if offset == 0x10:
            self.address = value
        elif offset == 0x18:
            self.length = value
        elif offset == 0x38:
            self.marks.append(value)
            self.marked += 1
        else:
            if not 0 < self.length <= 1 << 20:
                raise refuse(errno.EINVAL)
            page = self.server.page
            pages = range(value // page, (value + self.length - 1) // page + 1)
            if offset == 0x28:
                self.server.lookup(value, self.length)
                self.pins.update(pages)
            elif any(each not in self.pins for each in pages):
                raise refuse(errno.EINVAL)
            else:
                self.mark(value, self.length)
                self.pins.subtract(pages)
                self.pins = +self.pins

    def trigger(self, value: int) -> Any:
        if value > 2 or (value and not 0 < self.length <= 1 << 20):
            raise refuse(errno.EINVAL)
        if value and not self.state & RUNNING:
            raise refuse(errno.EBUSY)
        self.film += 1
        self.films, self.failed = value == 2, False
        if value == 1:
            return self.expose(None)
        if value == 2:
            self.server.spawn(self.filming(self.film))
        return None

    # ---- memory -----------------------------------------------------------------------------------------------------

    def mark(self, at: int, size: int) -> None:
        """Record the write of a part of memory, as far as it is mapped."""
        page = self.server.page
        if self.records is None:
            return
        for mapping in self.server.mappings:
            first, last = max(at, mapping.iova), min(at + size, mapping.end)
            if first < last:
                numbers = range((first - mapping.iova) // page, (last - 1 - mapping.iova) // page + 1)
                self.records[mapping.iova].update(numbers)

    def mapped(self, mapping: Mapping) -> None:
        if self.records is not None:
            self.records[mapping.iova] = set()

    def unmapped(self, mapping: Mapping) -> None:
        if self.records is not None:
            del self.records[mapping.iova]
        page = self.server.page
        for number in [each for each in self.pins if mapping.iova <= each * page < mapping.end]:
            del self.pins[number]

    def tracking(self) -> bool:
        return self.records is not None

    def track(self, on: bool) -> None:
        if not on:
            self.records = None
        elif self.records is None:
            self.records = {each.iova: set() for each in self.server.mappings}

    def bitmap(self, iova: int, pages: int) -> bytes:
        page, end = self.server.page, iova + pages * self.server.page
        assert self.records is not None
        found = set()
        for start, record in self.records.items():
            chosen = {number for number in record if iova <= start + number * page < end}
            record -= chosen
            found |= {(start - iova) // page + number for number in chosen}
        found |= {each - iova // page for each in self.pins if iova <= each * page < end}
        bits = bytearray(-(-pages // 8))
        for number in found:
            bits[number // 8] |= 1 << number % 8
        return bytes(bits)

    # ---- migration --------------------------------------------------------------------------------------------------

    def change(self, new: int) -> None:
        if (self.state, new) not in DRAWN | ALSO:
            raise refuse(errno.EINVAL)
        old = self.state
        if new == old:
            return
        if old == RESUMING:
            self.restore()
        self.tick()
        self.state = new
        if (old, new) == (3, 2):
            self.cold = True
            self.unsent |= self.offered or set()
            self.introduced = self.introduced and self.offered is None
            self.offered = None
        else:
            self.begin()

    def rest(self) -> int:
        """The bytes that are still to be offered."""
        many = len(self.unsent) * (RECORD.size + BLOCK)
        many += 0 if self.introduced else RECORD.size + 4
        return many + (RECORD.size + PLAIN.size if self.state == SAVING and not self.finished else 0)

    def pending(self) -> int:
        if not self.state & SAVING:
            return 0
        if self.offered is not None:
            if self.broken == "taken-off-list":
                self.unsent -= self.offered
            self.offered = None
            self.turn ^= 1
        return self.rest()

    def offset(self) -> Job:
        if self.state & SAVING:
            if self.cold:
                yield 0.050
                self.cold = False
            if self.offered is None and self.rest():
                self.make()
        yield from ()
        return struct.pack("<Q", WINDOWS[self.turn])

    def make(self) -> None:
        """Put the next records into the window."""
        records = b""
        if not self.introduced:
            records += RECORD.pack(GEOMETRY, 0, 4) + struct.pack("<HH", TABLE // BLOCK, BLOCK)
            self.introduced = True
        self.offered = set(sorted(self.unsent)[:AT_ONCE])
        for block in sorted(self.offered):
            records += RECORD.pack(CORRECTION, block, BLOCK) + self.table[block * BLOCK : (block + 1) * BLOCK]
        # the fault: in pre-copy, they are removed from the list once they are read, even if they changed
        if self.broken != "taken-off-list" or self.state == SAVING:
            self.unsent -= self.offered
        if self.state == SAVING and not self.unsent and not self.finished:
            records += RECORD.pack(REGISTERS, 0, PLAIN.size) + self.plain()
            self.finished = True
        self.offering = records
        os.pwrite(self.memory, records, WINDOWS[self.turn])

    def plain(self) -> bytes:
        self.tick()
        return PLAIN.pack(
            int(self.frames), *self.bytes, self.films, self.address, self.length, self.marked, *self.marks
        )

    def take(self, size: int) -> None:
        """Store a buffer in the copy, or refuse it as a whole."""
        if not RECORD.size <= size <= WINDOW:
            raise refuse(errno.EINVAL)
        data = os.pread(self.memory, size, WINDOWS[self.turn])
        blocks: dict[int, bytes] = {}
        at, final = 0, b""
        while at < size:
            if size - at < RECORD.size:
                raise refuse(errno.EINVAL)
            kind, number, length = RECORD.unpack_from(data, at)
            what = data[at + RECORD.size : at + RECORD.size + length]
            expected = {GEOMETRY: 4, CORRECTION: BLOCK, REGISTERS: PLAIN.size}.get(kind)
            if length != expected or len(what) != length or number >= TABLE // BLOCK:
                raise refuse(errno.EINVAL)
            if kind == GEOMETRY and what != struct.pack("<HH", TABLE // BLOCK, BLOCK):
                raise refuse(errno.EINVAL)
            if kind == CORRECTION:
                blocks[number] = what
            elif kind == REGISTERS:
                final = what
            at += RECORD.size + length
        self.given.update(blocks)
        self.final = final or self.final
        self.started = True
        self.turn ^= 1

    def restore(self) -> None:
        if not self.started:
            return
        if not self.final:
            raise refuse(errno.EINVAL, "the registers are missing")
        self.table = bytearray(TABLE)
        for block, what in self.given.items():
            self.table[block * BLOCK : (block + 1) * BLOCK] = what
        self.written = set() if self.broken == "factory-fresh" else set(self.given)
        frames, *three, films, self.address, self.length, self.marked = PLAIN.unpack(self.final)[:8]
        self.frames, self.bytes, self.films = float(frames), bytearray(three), bool(films)
        self.marks = deque(PLAIN.unpack(self.final)[8:], 16)
        self.film += 1
        if films:
            self.server.spawn(self.filming(self.film))

    def read_migration(self, offset: int, count: int) -> Any:
        if offset >= 32:
            return os.pread(self.memory, count, offset)
        if (offset, count) == (0, 4):
            return struct.pack("<I", self.state)
        if (offset, count) == (4, 4):
            return bytes(4)
        if (offset, count) == (8, 8):
            return struct.pack("<Q", self.pending())
        if (offset, count) == (16, 8):
            return self.offset()
        if (offset, count) == (24, 8):
            return struct.pack("<Q", len(self.offering) if self.offered is not None else 0)
        raise refuse(errno.EINVAL)

    def write_migration(self, offset: int, data: bytes) -> None:
        if offset >= 32:
            if self.state != RESUMING:
                raise refuse(errno.EACCES)
            os.pwrite(self.memory, data, offset)
        elif (offset, len(data)) == (0, 4):
            self.change(struct.unpack("<I", data)[0])
        elif (offset, len(data)) == (24, 8):
            if self.state != RESUMING:
                raise refuse(errno.EACCES)
            self.take(struct.unpack("<Q", data)[0])
        elif (offset, len(data)) != (4, 4):
            raise refuse(errno.EINVAL)


if __name__ == "__main__":
    main(Camera, __doc__, ("taken-off-list", "factory-fresh"))
