# SPDX-License-Identifier: GPL-2.0-only
"""A RAID controller's cache: 40 lines of 4 KiB, behind a migration region of 1 TiB.

BAR 1, registers of 1 and 8 bytes:

    0x00  1  command: 1 destage a line into memory, 2 do so without end, 3 end that, 4 pin memory, 5 unpin it
    0x01  1  result of the last command: 0 done, 1 failed
    0x08  8  address in memory
    0x10  8  number of bytes
    0x18  8  patrol reads, one every 40 us while it runs; read only
    0x20  1  1: the battery is empty, the next line to be read out is lost, and reading it fails
    0x21  1  1: a disk is missing, the next change of state fails

BAR 2 is the cache, 160 KiB, only in pieces of 8 bytes.

The data section of the region is everything between 0x20 and 1 TiB. At 512 GiB, there is a window of 64 KiB that can be
mapped, with four places in it for buffers, used in turn; everywhere else, it reads as zero and refuses writes. The
descriptor is a sparse file of that size. Lines are sent in the order of their last use, three in a buffer; a line that
was not written since it was zeroed is sent as its number alone. There is no data in pre-copy.

Dirty pages are a sorted list. Memory is written through its descriptor, or by messages.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
import sys
import time
from bisect import bisect_left, insort
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from blocking import wire

LINES, LINE = 40, 4096
REGION, WINDOW, PLACE = 1 << 40, 1 << 39, 0x4000
ZEROED = 0x8000
META = struct.Struct("<QQQBB40H")
EVER = {1: "0234", 3: "021", 2: "0134", 0: "124", 4: "10"}


class Hoarder(wire.Card):
    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.fd = os.memfd_create("terabyte")
        os.ftruncate(self.fd, WINDOW + 4 * PLACE)
        self.window = mmap.mmap(self.fd, 4 * PLACE, offset=WINDOW)
        none = wire.Region(0, flags=0)
        region = wire.Region(REGION, kind=wire.MIGRATION, areas=[(WINDOW, 4 * PLACE)], fd=self.fd)
        self.regions = [none, wire.Region(0x40), wire.Region(LINES * LINE), *[none] * 6, region]
        self.mem: list[tuple[int, int, bool, mmap.mmap | None]] = []
        self.dirty: list[int] = []
        self.pins: list[tuple[int, int]] = []
        self.tracking = False
        self.cold_start()

    # ---- the cache ---------------------------------------------------------------------------------------------------
    def cold_start(self) -> None:
        self.state = 1
        self.patrol, self.since = 0, time.monotonic_ns()
        self.cache = bytearray(LINES * LINE)
        self.used: set[int] = set()
        self.order = list(range(LINES))
        self.address = self.bytes = 0
        self.result = self.destaged = 0
        self.endless, self.then = False, 0.0
        self.battery_empty = self.disk_missing = False
        self.window[:] = bytes(4 * PLACE)
        self.end_session()

    def end_session(self) -> None:
        self.queue: list[int] = []
        self.place = 0
        self.size = 0
        self.meta_due = False
        self.lines_in: set[int] = set()
        self.meta_in: bytes | None = None
        self.told = 0

    def opened(self) -> None:
        self.unmap_all()
        self.tracking = False
        self.cold_start()

    def closed(self) -> None:
        self.opened()

    def reset(self) -> None:
        self.cold_start()
        for start, end in self.pins:
            self.soil(start, end)
        self.pins = []

    def reads(self) -> int:
        return self.patrol + ((time.monotonic_ns() - self.since) // 40_000 if self.state & 1 and self.state < 4 else 0)

    def soil(self, start: int, end: int) -> None:
        if not self.tracking:
            return
        for page in range(start // self.page, (end - 1) // self.page + 1):
            at = bisect_left(self.dirty, page)
            if at == len(self.dirty) or self.dirty[at] != page:
                insort(self.dirty, page)

    def pieces(self, start: int, end: int) -> list[tuple[int, int, int, mmap.mmap | None]]:
        found = []
        for base, size, writable, view in self.mem:  # by address
            if base <= start < min(end, base + size) and writable:
                found.append((base, start, min(end, base + size), view))
                start = found[-1][2]
        if start < end or not found:
            raise wire.refuse(errno.EFAULT)
        return found

    def destage(self) -> None:
        pieces = self.pieces(self.address, self.address + self.bytes)
        self.destaged += 1
        line = self.destaged % LINES * LINE
        sector = self.destaged.to_bytes(8, "little") + bytes(self.cache[line : line + 504])
        data = (sector * (self.bytes // 512 + 1))[: self.bytes]
        self.soil(self.address, self.address + self.bytes)
        for base, low, high, view in pieces:
            if view is None:
                self.link.put(low, data[low - self.address : high - self.address])
            else:
                view[low - base : high - base] = data[low - self.address : high - self.address]

    def wait(self) -> float | None:
        return max(0.0, self.then - time.monotonic()) if self.endless and self.state in (1, 3) else None

    def tick(self) -> None:
        self.then = time.monotonic() + 0.014
        try:
            self.destage()
        except OSError:
            self.endless, self.result = False, 1

    def command(self, number: int) -> None:
        self.result = 1
        if number in (1, 2, 4) and not 0 < self.bytes <= 1 << 18:
            return
        try:
            if number == 1 and self.state in (1, 3):
                self.destage()
            elif number in (2, 3):
                self.endless, self.then = number == 2, 0.0
            elif number == 4:
                self.pieces(self.address, self.address + self.bytes)
                self.pins.append((self.address, self.address + self.bytes))
            elif number == 5:
                gone = [pin for pin in self.pins if pin[0] == self.address]
                self.pins = [pin for pin in self.pins if pin[0] != self.address]
                for start, end in gone:
                    self.soil(start, end)
            else:
                return
        except OSError:
            return
        self.result = 0

    def put(self, at: int, data: bytes) -> None:
        self.cache[at : at + 8] = data
        line = at // LINE
        self.used.add(line)
        self.order.remove(line)
        self.order.append(line)

    # ---- migration ---------------------------------------------------------------------------------------------------
    def where(self) -> int:
        return WINDOW + self.place % 4 * PLACE

    def pending(self) -> int:
        if self.size:
            self.size = 0
            self.place += 1
            if self.queue:
                del self.queue[:3]
            else:
                self.meta_due = False
        return len(self.queue) * (LINE + 2) + (META.size + 2 if self.meta_due else 0)

    def offset(self) -> int:
        if self.state == 2 and not self.size and (self.queue or self.meta_due):
            if self.battery_empty:
                self.battery_empty = False
                if self.fault != "zero-fill":
                    raise wire.refuse(errno.EIO)
                for line in self.queue[:1]:
                    self.cache[line * LINE : (line + 1) * LINE] = bytes(LINE)
            data = b""
            for line in self.queue[:3]:
                if line in self.used:
                    data += struct.pack("<H", line) + self.cache[line * LINE : (line + 1) * LINE]
                else:
                    data += struct.pack("<H", line | ZEROED)
            if not self.queue:
                data = b"\xff\xff" + META.pack(
                    self.reads(), self.address, self.bytes, self.result, self.endless, *self.order
                )
            start = self.where() - WINDOW
            self.window[start : start + len(data)] = data
            self.size = len(data)
            self.told = 0
        if self.size:
            self.told += 1
            if self.fault == "low-word" and self.told > 1:
                return self.where() & 0xFFFFFFFF | 0x8000
        return self.where()

    def take(self, size: int) -> None:
        if self.state != 4 or not 0 < size <= PLACE:
            raise wire.refuse(errno.ENOSPC)
        start = self.where() - WINDOW
        data = self.window[start : start + size]
        at = 0
        while at < size:
            number = int.from_bytes(data[at : at + 2], "little")
            at += 2
            if number == 0xFFFF and size - at == META.size:
                self.meta_in = data[at:]
                at = size
            elif number >= ZEROED and number - ZEROED < LINES:
                start = (number - ZEROED) * LINE
                self.cache[start : start + LINE] = bytes(LINE)
                self.lines_in.add(number - ZEROED)
            elif number < LINES and at + LINE <= size:
                self.cache[number * LINE : (number + 1) * LINE] = data[at : at + LINE]
                self.used.add(number)
                self.lines_in.add(number)
                at += LINE
            else:
                raise wire.refuse(errno.EILSEQ)
        self.place += 1

    def change(self, wanted: int) -> None:
        wanted &= 7
        if self.state == 6:
            raise wire.refuse(errno.EIO)
        patrol = self.reads()
        if self.disk_missing:
            self.patrol, self.state = patrol, 6
            raise wire.refuse(errno.ENODEV)
        if wanted == self.state:
            return
        if str(wanted) not in EVER[self.state]:
            raise wire.refuse()
        self.patrol, self.since = patrol, time.monotonic_ns()
        if self.state == 4 and (self.lines_in or self.meta_in):
            if len(self.lines_in) != LINES or self.meta_in is None:
                self.state = 6
                raise wire.refuse(errno.EIO)
            self.patrol, self.address, self.bytes, self.result, endless, *order = META.unpack(self.meta_in)
            self.endless, self.order = bool(endless), list(order)
            if sorted(self.order) != list(range(LINES)):
                self.order = list(range(LINES))
        self.end_session()
        if wanted == 2:
            self.queue, self.meta_due = list(self.order), True
        if wanted == 4:
            self.cache[:] = bytes(len(self.cache))
            self.used.clear()
        self.state = wanted

    # ---- called by the wire ------------------------------------------------------------------------------------------
    def read(self, region: int, offset: int, count: int) -> bytes:
        if region == 2:
            if count != 8 or offset % 8:
                raise wire.refuse()
            return bytes(self.cache[offset : offset + 8])
        if region == 1:
            values = {(0x08, 8): self.address, (0x10, 8): self.bytes, (0x18, 8): self.reads(), (0x01, 1): self.result}
            value = values.get((offset, count))
            if value is None:
                if (offset, count) not in ((0, 1), (0x20, 1), (0x21, 1)):
                    raise wire.refuse()
                value = 0
            return value.to_bytes(count, "little")
        if offset >= 32:
            low, high = max(offset, WINDOW), min(offset + count, WINDOW + 4 * PLACE)
            if low >= high:
                return bytes(count)
            return bytes(low - offset) + self.window[low - WINDOW : high - WINDOW] + bytes(offset + count - high)
        if (offset, count) not in ((0, 4), (4, 4), (8, 8), (16, 8), (24, 8)):
            raise wire.refuse()
        value = self.state if offset == 0 else 0
        if offset == 8:
            value = self.pending()
        elif offset == 16:
            value = self.offset()
        elif offset == 24:
            value = self.size
        return value.to_bytes(count, "little")

    def write(self, region: int, offset: int, data: bytes) -> None:
        value, count = int.from_bytes(data, "little"), len(data)
        if region == 2:
            if count != 8 or offset % 8:
                raise wire.refuse()
            self.put(offset, data)
        elif region == 1:
            if (offset, count) == (0, 1):
                self.command(value)
            elif (offset, count) == (0x08, 8):
                self.address = value
            elif (offset, count) == (0x10, 8):
                self.bytes = value
            elif (offset, count) == (0x20, 1):
                self.battery_empty = value == 1
            elif (offset, count) == (0x21, 1):
                self.disk_missing = value == 1
            else:
                raise wire.refuse()
        elif offset >= 32:
            if self.state != 4 or not WINDOW <= offset <= offset + count <= WINDOW + 4 * PLACE:
                raise wire.refuse(errno.ENOSPC)
            self.window[offset - WINDOW : offset - WINDOW + count] = data
        elif (offset, count) == (0, 4):
            self.change(value)
        elif (offset, count) == (24, 8):
            self.take(value)
        elif (offset, count) not in ((4, 4), (16, 8)):
            raise wire.refuse(errno.EROFS)

    def map(self, address: int, size: int, flags: int, fd: int, offset: int) -> None:
        if address % self.page or size % self.page:
            raise wire.refuse()
        if any(base < address + size and address < base + there for base, there, _, _ in self.mem):
            raise wire.refuse(errno.EEXIST)
        view = None
        if fd >= 0 and flags & 2 and os.fstat(fd).st_size >= offset + size:
            view = mmap.mmap(fd, size, offset=offset)
        self.mem.append((address, size, bool(flags & 2), view))
        self.mem.sort(key=lambda piece: piece[0])

    def known(self, address: int, size: int) -> tuple[int, int, bool, mmap.mmap | None]:
        for piece in self.mem:
            if piece[:2] == (address, size):
                return piece
        raise wire.refuse(errno.ENOENT)

    def unmap(self, address: int, size: int) -> None:
        piece = self.known(address, size)
        self.mem.remove(piece)
        if piece[3] is not None:
            piece[3].close()
        low = bisect_left(self.dirty, address // self.page)
        high = bisect_left(self.dirty, (address + size) // self.page)
        del self.dirty[low:high]
        rest = []
        for start, end in self.pins:
            rest += [(start, min(end, address)), (max(start, address + size), end)]
        self.pins = [(start, end) for start, end in rest if start < end]

    def unmap_all(self) -> None:
        for base, size, _, _ in list(self.mem):
            self.unmap(base, size)

    def track(self, on: bool) -> None:
        if on != self.tracking:
            self.dirty = []
        self.tracking = on

    def bitmap(self, address: int, size: int, page: int, room: int) -> bytes:
        first, count = address // self.page, size // self.page
        if not self.tracking or page != self.page or not size or address % page or size % page:
            raise wire.refuse()
        if not (count + 63) // 64 * 8 <= room <= wire.LARGEST or address + size > 1 << 64:
            raise wire.refuse()
        low, high = bisect_left(self.dirty, first), bisect_left(self.dirty, first + count)
        pages = self.dirty[low:high]
        del self.dirty[low:high]
        for start, end in self.pins:
            pages += range(max(first, start // page), min(first + count, (end - 1) // page + 1))
        bits = bytearray(room)
        for n in pages:
            bits[(n - first) >> 3] |= 1 << ((n - first) & 7)
        return bytes(bits)

    def unmap_with_bitmap(self, address: int, size: int, page: int, room: int) -> bytes:
        self.known(address, size)
        bits = self.bitmap(address, size, page, room)
        self.unmap(address, size)
        return bits


if __name__ == "__main__":
    wire.serve(Hoarder(wire.broken_by()))
