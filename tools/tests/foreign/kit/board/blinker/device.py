# SPDX-License-Identifier: GPL-2.0-only
"""A row of lamps with a light sensor on a slow bus, with 2-byte registers that return EIO while the card is stopped.

    region 3, registers; each is accessed as a whole. All but PORT, at 0x80, return EIO unless the card runs.
    0x00  2  ro  SENSOR: bits 0 to 11 count the flashes, one every 10 us; bits 12 to 15 are noise
    0x02  2      LAMPS
    0x04  2      four registers for an address in the client's memory, the lowest quarter first
    0x0c  2      SIZE, in units of 16 bytes
    0x0e  2  wo  ACT: 1 log the sensor there (once), 2 log a word every 4 ms, 0 no longer
    0x10  2  ro  ACTED: 1 logged, 2 not
    0x80  2      PORT: 0xb11c; a write with bit 0 clear ends what ACT has begun, even while the card is stopped
    region 4, 26 KiB of flash patterns; always accessible
    region 6, migration; its data section is trapped

The card does not record writes: while tracking is on, each mapped page is reported each time. Memory is written by
messages, or into the descriptor by pwrite(). The state is a block that begins with its length and ends with a checksum,
cut into buffers of at most 8 KiB, each 1 KiB shorter than the previous one, at two places in turn. It is applied when
the card leaves resuming, for any state; every transition between valid states is accepted.
"""

from __future__ import annotations

import errno
import os
import random
import struct
import sys
import time
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from board.wire import PAGE, Device, Mapping, Refused, Region, arguments, capability_type, main

DARK, LIT, SAVING, LIVE, LOADING = 0, 1, 2, 3, 4
VALID = (DARK, LIT, SAVING, LIVE, LOADING)
PATTERNS, START, ROOM = 26 * 1024, 0x20, 0x2800
BLOCK = struct.Struct("<4sIHHHHHHHHI")  # magic, bytes after it, count, lamps, address by quarters, size, doing, words


class Blinker(Device):
    def __init__(self, broken: str) -> None:
        self.broken = broken
        none = Region(flags=0)
        migration = Region(START + ROOM, capabilities=[capability_type(3, 1)])
        self.regions = [none, none, none, Region(0x82), Region(PATTERNS), none, migration]
        self.lowest, self.highest = 1 << 64, 0
        self.off_and_on()

    def off_and_on(self) -> None:
        self.state = LIT
        self.count, self.counted = 0.0, time.monotonic()
        self.lamps = self.size = self.doing = self.acted = self.words = 0
        self.quarters = [0, 0, 0, 0]
        self.patterns = bytearray(PATTERNS)
        self.next_word = 0.0
        self.block, self.cut, self.given = b"", 0, False
        self.taken = b""
        self.buffer = bytearray(ROOM)
        self.told = 0

    def opened(self) -> None:
        self.off_and_on()

    def closed(self) -> None:
        self.tracking = False
        self.lowest, self.highest = 1 << 64, 0
        self.off_and_on()

    def reset(self) -> None:
        self.off_and_on()

    # -- the card -----------------------------------------------------------------------------------------------------

    def flashes(self) -> int:
        now = time.monotonic()
        if self.state & LIT:
            self.count += (now - self.counted) * 100000
        self.counted = now
        return int(self.count)

    def due(self) -> float | None:
        return self.next_word if self.doing == 2 and self.state & LIT else None

    def tick(self) -> None:
        self.next_word = time.monotonic() + 0.004
        self.words = self.words + 1 & 0xFFFFFFFF
        units = max(self.size, 1)
        self.log(self.address() + self.words * 37 % units * 16, struct.pack("<IIQ", self.words, units, self.flashes()))

    def address(self) -> int:
        return sum(quarter << 16 * number for number, quarter in enumerate(self.quarters))

    def log(self, address: int, data: bytes) -> bool:
        mapping = self.link.mapping(address, len(data))
        if mapping is None or not mapping.writable or not data:
            return False
        if mapping.descriptor < 0:
            return all(self.link.dma_write(address + at, data[at : at + 4096]) for at in range(0, len(data), 4096))
        try:
            return os.pwrite(mapping.descriptor, data, mapping.offset + address - mapping.start) == len(data)
        except OSError:
            return False

    # -- pages --------------------------------------------------------------------------------------------------------

    def mapped(self, mapping: Mapping) -> None:
        self.lowest, self.highest = min(self.lowest, mapping.start), max(self.highest, mapping.end)

    def unmapped(self, mapping: Mapping) -> None:
        if mapping.descriptor >= 0:
            os.close(mapping.descriptor)
        left = [each for each in self.link.mappings.values() if each is not mapping]
        self.lowest = min((each.start for each in left), default=1 << 64)
        self.highest = max((each.end for each in left), default=0)

    def track(self, on: bool) -> None:
        self.tracking = on

    def dirty(self, start: int, pages: int) -> int:
        bits = 0
        spans = [(each.start, each.end) for each in self.link.mappings.values()]
        if self.broken == "holes-are-pages":
            spans = [(self.lowest, self.highest)]
        for low, high in spans:
            first, last = max(low, start), min(high, start + pages * PAGE)
            if first < last:
                bits |= (1 << (last - start) // PAGE) - (1 << (first - start) // PAGE)
        return bits

    # -- registers ----------------------------------------------------------------------------------------------------

    def read(self, region: int, offset: int, size: int) -> bytes:
        if region == 6:
            return self.migration_read(offset, size)
        if region == 4:
            return bytes(self.patterns[offset : offset + size])
        if region != 3 or size != 2:
            raise Refused
        if offset == 0x80:
            return (0xB11C).to_bytes(2, "little")
        if not self.state & LIT:
            raise Refused(errno.EIO)
        values = {
            0x00: self.flashes() & 0xFFF | random.randrange(16) << 12, 0x02: self.lamps, 0x0C: self.size,
            0x10: self.acted, **{0x04 + 2 * number: quarter for number, quarter in enumerate(self.quarters)},
        }  # fmt: skip
        if offset not in values:
            raise Refused
        return values[offset].to_bytes(2, "little")

    def write(self, region: int, offset: int, data: bytes) -> None:
        value = int.from_bytes(data, "little")
        if region == 6:
            self.migration_write(offset, data)
            return
        if region == 4:
            self.patterns[offset : offset + len(data)] = data
            return
        if region != 3 or len(data) != 2:
            raise Refused
        if offset == 0x80:
            self.doing *= value & 1
            return
        if not self.state & LIT:
            raise Refused(errno.EIO)
        if offset == 0x02:
            self.lamps = value
        elif offset in (0x04, 0x06, 0x08, 0x0A):
            self.quarters[(offset - 4) // 2] = value
        elif offset == 0x0C:
            self.size = value
        elif offset == 0x0E:
            self.act(value)
        else:
            raise Refused

    def act(self, value: int) -> None:
        if value == 1:
            words = struct.pack("<QQ", self.flashes(), self.lamps) * self.size
            self.acted = 1 if self.log(self.address(), words) else 2
        else:
            self.doing, self.next_word = value & 2, time.monotonic()

    # -- migration ----------------------------------------------------------------------------------------------------

    def make(self) -> bytes:
        fields = (self.flashes() & 0xFFF, self.lamps, *self.quarters, self.size, self.doing, self.words)
        block = BLOCK.pack(b"LAMP", PATTERNS + 4, *fields) + bytes(self.patterns)
        return block + struct.pack("<I", zlib.crc32(block))

    def load(self) -> None:
        """Apply the data, if it is complete."""
        block = self.taken
        if not block:
            return
        if (
            block[:4] != b"LAMP"
            or len(block) != BLOCK.size + PATTERNS + 4
            or block[-4:] != struct.pack("<I", zlib.crc32(block[:-4]))
        ):
            raise Refused(errno.EBADMSG)
        _, _, count, self.lamps, *rest, words = BLOCK.unpack_from(block)
        self.quarters, self.size, self.doing, self.words = rest[:4], rest[4], rest[5], words
        self.count = float(count)
        self.patterns[:] = block[BLOCK.size : -4]

    def piece(self) -> bytes:
        """The next buffer; each is 1 KiB shorter than the previous one, down to 4 KiB."""
        at = 0
        for number in range(self.cut):
            at += self.length(number)
        return self.block[at : at + self.length(self.cut)]

    def length(self, number: int) -> int:
        return max(8 - number, 4) * 1024

    def place(self) -> int:
        """One of two places, which alternate and overlap."""
        return START + (self.cut % 2) * 24

    def change(self, value: int) -> None:
        new = value & 7
        if new not in VALID:
            raise Refused
        if new == self.state:
            return
        if self.state == LOADING:
            self.load()
        self.flashes()
        if new & LIT:
            self.next_word = time.monotonic()
        self.state = new
        self.block = self.make() if new == SAVING else b""
        self.cut, self.given, self.taken, self.told = 0, False, b"", 0

    def migration_read(self, offset: int, size: int) -> bytes:
        if offset >= START:
            return bytes(self.buffer[offset - START : offset - START + size])
        if (offset, size) not in ((0, 4), (4, 4), (8, 8), (16, 8), (24, 8)):
            raise Refused
        value = 0
        if offset == 0:
            value = self.state
        elif offset == 8:
            self.cut += self.given
            self.given = False
            value = len(self.block) - sum(map(self.length, range(self.cut))) if self.piece() else 0
        elif offset == 16:
            value = self.place()
            if self.piece() and not self.given:
                self.given = True
                self.buffer[value - START : value - START + len(self.piece())] = self.piece()
        elif offset == 24:
            value = len(self.piece()) if self.given else self.told
        return value.to_bytes(size, "little")

    def migration_write(self, offset: int, data: bytes) -> None:
        size, value = len(data), int.from_bytes(data, "little")
        if (offset, size) == (0, 4):
            self.change(value)
        elif (offset, size) == (4, 4):
            pass
        elif self.state != LOADING:
            raise Refused(errno.EPERM)
        elif offset >= START:
            self.buffer[offset - START : offset - START + size] = data
        elif (offset, size) != (24, 8) or not 0 < value <= 8192 or len(self.taken) > 1 << 18:
            raise Refused
        else:
            at = self.place() - START
            self.taken += bytes(self.buffer[at : at + value])
            self.cut += 1
            self.told = value


if __name__ == "__main__":
    path, named = arguments("holes-are-pages")
    main(Blinker(named), path)
