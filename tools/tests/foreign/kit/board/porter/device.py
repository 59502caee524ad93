# SPDX-License-Identifier: GPL-2.0-only
"""A frame grabber that writes pictures to one fixed window of the client's memory, 1 MiB at 6 GiB, and nowhere else.

    region 0, registers; each is accessed as a whole
    0x00  8  ro  address of the window
    0x08  4  ro  bytes of the window
    0x10  1      COMMAND: 1 grab a picture, 2 film (a line every 4 ms), 3 end of film, 4 pin, 5 unpin
    0x11  1  ro  STATUS: 1 done, 2 failed
    0x12  2  ro  LINE: the beam, about 15000 lines a second, while the sensor runs
    0x14  4      OFFSET of the picture in the window
    0x18  4      LENGTH of the picture
    0x20  2      GAIN
    region 1, 80 KiB: lookup table and sensor memory
    region 2, migration; its data section is one buffer of 36 KiB that can be mapped

Pictures are written to a descriptor by pwritev(), or by messages if the client gave none. There is one bit for each
page of the window, in one number. The state is sent in buffers that name their place in the sensor; each is stored at
once, in any order, and leaving resuming requires all of them. Only drawn transitions are accepted.
"""

from __future__ import annotations

import os
import struct
import sys
import time
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from board.wire import (
    MMAP,
    PAGE,
    READ,
    WRITE,
    Device,
    Mapping,
    Refused,
    Region,
    arguments,
    capability_sparse,
    capability_type,
    main,
)

HALT, GO, DRAIN, LIVE, FILL, DEAD = 0, 1, 2, 3, 4, 6
DRAWN = {GO: (HALT, DRAIN, LIVE, FILL), LIVE: (DRAIN,), DRAIN: (HALT,), FILL: (GO,), HALT: (), DEAD: ()}
WINDOW, SIZE, SENSOR = 6 << 30, 1 << 20, 80 * 1024
BUFFER, LOAD = 9 * PAGE, 32 * 1024
HEAD = struct.Struct("<IIIIQII")  # magic, where, bytes, checksum, line, settings, film
MAGIC = 0x72657470


class Porter(Device):
    def __init__(self, broken: str) -> None:
        self.broken = broken
        self.section = os.memfd_create("porter", os.MFD_CLOEXEC)
        os.ftruncate(self.section, PAGE + BUFFER)
        areas = capability_sparse((PAGE, BUFFER))
        self.regions = [
            Region(0x40),
            Region(SENSOR),
            Region(PAGE + BUFFER, READ | WRITE | MMAP, [areas, capability_type(3, 1)], self.section),
        ]
        self.bits = 0
        self.pins = [0] * (SIZE // PAGE)  # for each page of the window, how often
        self.begin()

    def begin(self) -> None:
        self.state = GO
        self.line, self.seen = 0.0, time.monotonic()
        self.status = self.offset = self.length = self.gain = 0
        self.film: tuple[int, int] | None = None
        self.exposure = 0
        self.next_line = 0.0
        self.sensor = bytearray(SENSOR)
        self.queue: list[int] = []
        self.out = 0
        self.came: dict[int, int] = {}
        self.size = 0

    def opened(self) -> None:
        self.begin()

    def closed(self) -> None:
        self.tracking, self.bits, self.pins = False, 0, [0] * (SIZE // PAGE)
        self.begin()

    def reset(self) -> None:
        self.bits |= self.pinned()
        self.pins = [0] * (SIZE // PAGE)
        self.begin()

    # -- the sensor ---------------------------------------------------------------------------------------------------

    def sweep(self) -> int:
        now = time.monotonic()
        if self.state & GO:
            self.line += (now - self.seen) * 15000
        self.seen = now
        return int(self.line)

    def due(self) -> float | None:
        return self.next_line if self.film and self.next_line else None

    def tick(self) -> None:
        self.next_line = time.monotonic() + 0.004 if self.state & GO else 0.0
        if self.film:
            self.exposure += 1
            offset, length = self.film
            at = self.exposure * 776 % max(length - 11, 1)
            self.carry(offset + at, struct.pack("<III", self.exposure, offset, at)[: length - at])

    def carry(self, offset: int, picture: bytes) -> bool:
        """Write a part of the window."""
        address, left = WINDOW + offset, memoryview(picture)
        if not picture or offset + len(picture) > SIZE:
            return False
        mappings = []
        while left:
            mapping = next((each for each in self.link.mappings.values() if each.start <= address < each.end), None)
            if mapping is None or not mapping.writable:
                return False
            part = left[: mapping.end - address]
            mappings.append((mapping, address, part))
            address, left = address + len(part), left[len(part) :]
        for mapping, start, part in mappings:  # which may be adjacent
            if mapping.descriptor >= 0:
                try:
                    os.pwritev(mapping.descriptor, [part], mapping.offset + start - mapping.start)
                except OSError:
                    return False
            elif not all(
                self.link.dma_write(start + at, bytes(part[at : at + 65536])) for at in range(0, len(part), 65536)
            ):
                return False
            self.mark(start - WINDOW, len(part))
        return True

    def mark(self, offset: int, length: int) -> None:
        if self.tracking:
            for page in range(offset // PAGE, (offset + length - 1) // PAGE + 1):
                self.bits |= 1 << page

    # -- memory of the client -----------------------------------------------------------------------------------------

    def unmapped(self, mapping: Mapping) -> None:
        if mapping.descriptor >= 0:
            os.close(mapping.descriptor)
        mask, _ = self.asked(mapping.start, mapping.size // PAGE)
        self.pins = [0 if mask >> page & 1 else count for page, count in enumerate(self.pins)]
        self.bits &= ~mask

    def asked(self, start: int, pages: int) -> tuple[int, int]:
        """The bits of the window that are in a range, and how far the range's own bits are shifted against them."""
        shift = (start - WINDOW) // PAGE
        low, high = max(shift, 0), min(shift + pages, SIZE // PAGE)
        return ((1 << high) - (1 << low) if low < high else 0), shift

    def pinned(self) -> int:
        return sum(1 << page for page, count in enumerate(self.pins) if count) if self.tracking else 0

    def track(self, on: bool) -> None:
        if on != self.tracking:
            self.bits = 0
        self.tracking = on

    def dirty(self, start: int, pages: int) -> int:
        self.bits |= self.pinned()
        mask, shift = self.asked(start, pages)
        found = self.bits & mask
        self.bits &= ~mask
        if self.broken == "bitmap-of-the-window":
            return found & (1 << pages) - 1
        return found >> shift if shift >= 0 else found << -shift

    # -- registers ----------------------------------------------------------------------------------------------------

    def read(self, region: int, offset: int, size: int) -> bytes:
        if region == 2:
            return self.read_migration(offset, size)
        if region == 1:
            return bytes(self.sensor[offset : offset + size])
        if (offset, size) == (0x12, 2):
            return (self.sweep() & 0xFFFF).to_bytes(2, "little")
        known = {(0x00, 8): WINDOW, (0x08, 4): SIZE, (0x10, 1): 0, (0x11, 1): self.status, (0x14, 4): self.offset,
                 (0x18, 4): self.length, (0x20, 2): self.gain}  # fmt: skip
        if (offset, size) not in known:
            raise Refused
        return known[offset, size].to_bytes(size, "little")

    def write(self, region: int, offset: int, data: bytes) -> None:
        place, value = (offset, len(data)), int.from_bytes(data, "little")
        if region == 2:
            self.write_migration(offset, data)
        elif region == 1:
            self.sensor[offset : offset + len(data)] = data
        elif place == (0x14, 4):
            self.offset = value
        elif place == (0x18, 4):
            self.length = value
        elif place == (0x20, 2):
            self.gain = value
        elif place == (0x10, 1):
            self.status = 1 if self.command(value) else 2
        else:
            raise Refused

    def command(self, value: int) -> bool:
        picture = (self.offset, self.length)
        if value == 3:
            self.film = None
            return True
        if value == 5:
            self.bits |= self.pinned()
        if not self.length or self.offset + self.length > SIZE:
            return False
        if value == 1:
            pixel = struct.pack("<HH", self.sweep() & 0xFFFF, self.gain)
            return bool(self.state & GO) and self.carry(self.offset, (pixel * (self.length // 4 + 1))[: self.length])
        if value == 2:
            self.film, self.next_line = picture, time.monotonic() if self.state & GO else 0.0
            return True
        if value not in (4, 5) or not self.link.covered(WINDOW + self.offset, self.length):
            return False
        for page in range(self.offset // PAGE, (self.offset + self.length - 1) // PAGE + 1):
            self.pins[page] = max(self.pins[page] + (1 if value == 4 else -1), 0)
        return True

    # -- migration ----------------------------------------------------------------------------------------------------

    def move(self, new: int) -> None:
        if new not in DRAWN[self.state]:
            raise Refused
        if self.state == FILL and self.came and sum(self.came.values()) != SENSOR:
            self.state = DEAD
            raise Refused
        self.sweep()
        self.state = new
        if new & GO:
            self.next_line = time.monotonic()
        elif self.broken != "line-in-flight":
            self.next_line = 0.0
        self.out, self.size, self.came = 0, 0, {}
        self.queue = list(range(0, SENSOR, LOAD)) if new in (DRAIN, LIVE) else []

    def show(self) -> None:
        """Put a load into the section; the one with the highest address is the last."""
        where = self.queue[0]
        load = bytes(self.sensor[where : where + LOAD])
        film = struct.pack("<II", *self.film) if self.film else bytes(8)
        head = HEAD.pack(MAGIC, where, len(load), zlib.crc32(load), self.sweep(), self.gain, self.exposure)
        os.pwrite(self.section, head + film + load, PAGE)
        self.out = len(head) + len(film) + len(load)

    def read_migration(self, offset: int, size: int) -> bytes:
        if offset >= PAGE:
            return os.pread(self.section, size, offset)
        if (offset, size) not in ((0, 4), (4, 4), (8, 8), (16, 8), (24, 8)):
            raise Refused
        if offset == 8 and self.out:
            del self.queue[0]
            self.out = 0
        if offset == 16 and self.queue and not self.out:
            self.show()
        left = sum(min(LOAD, SENSOR - where) for where in self.queue)
        value = {0: self.state, 8: left, 16: PAGE, 24: self.out or self.size}.get(offset, 0)
        return value.to_bytes(size, "little")

    def write_migration(self, offset: int, data: bytes) -> None:
        place, value = (offset, len(data)), int.from_bytes(data, "little")
        if offset >= PAGE and self.state == FILL:
            os.pwrite(self.section, data, offset)
        elif place == (0, 4):
            self.move(value & 7)
        elif place == (24, 8) and self.state == FILL and HEAD.size + 8 < value <= BUFFER:
            self.put(os.pread(self.section, value, PAGE))
            self.size = value
        elif place not in ((4, 4), (8, 8), (16, 8)):
            raise Refused

    def put(self, buffer: bytes) -> None:
        """Store a load in its place."""
        magic, where, length, check, line, gain, exposure = HEAD.unpack_from(buffer)
        film = struct.unpack_from("<II", buffer, HEAD.size)
        load = buffer[HEAD.size + 8 :]
        wrong = magic != MAGIC or length != len(load) or check != zlib.crc32(load) or gain > 0xFFFF
        if wrong or where % LOAD or where >= SENSOR or length != min(LOAD, SENSOR - where):
            raise Refused
        if self.broken == "sixteen-bits-of-place":
            self.sensor[where & 0xFFFF : (where & 0xFFFF) + length] = load
        else:
            self.sensor[where : where + length] = load
        self.line, self.gain, self.exposure = float(line), gain, exposure
        self.film = (film[0], film[1]) if film[1] else None
        self.came[where] = length


if __name__ == "__main__":
    path, named = arguments("bitmap-of-the-window", "line-in-flight", "sixteen-bits-of-place")
    main(Porter(named), path)
