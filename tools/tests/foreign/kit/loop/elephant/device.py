# SPDX-License-Identifier: GPL-2.0-only
"""A card of non-volatile memory that never forgets: its contents survive a reset and its users.

BAR 0, registers of 8 bytes, except two of 2 bytes:

    0x00  8  r   microseconds for which the card ran, in all
    0x08  8  rw  host address          0x10  8  rw  host length
    0x18  2  rw  order: 1 sends the memory to the host once, 2 does so until 0 comes, 3 pins the host's range, 4 unpins
    0x1a  2  r   status: bit 0 sends, bit 1 the host's memory was not mapped
    0x20  8  rw  scratch registers, eight of them

BAR 2 is the memory, 64 KiB in 16 blocks, any width. BAR 3 has the wear of each block: 16 counters of 4 bytes, read
only, each of which increases when its block is written.

Data path: the whole file of the client is mapped once it is needed, and written a page at a time. Each page has the
stamp of its last write; a bitmap has the pages written after their last report.

Saved state: the data section is a picture of the memory, five places of 0x5000 that can be mapped, used one after
another. A place has a header of 24 bytes (magic, length, place, stamp), then four blocks with their wear, or the
registers in the fifth. Blocks that are written after they were saved are saved again. A place is stored in the memory
as soon as it is given, and stays even if resuming is abandoned.

Every state can be left for every other one. A reset only ends a session of migration and the sending.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from loop.wire import Device, Job, Mapping, Region, main, refuse

RUNNING, SAVING, RESUMING = 1, 2, 4
MEMORY, BLOCK, QUARTER = 64 << 10, 4 << 10, 16 << 10
FIRST, PLACE, PLACES = 0x1000, 0x5000, 5
HEAD = struct.Struct("<8sIIQ")
MAGIC = b"ELEPHANT"
PART = 16 + QUARTER
PLAIN = struct.Struct("<QQQH8Q")


class Elephant(Device):
    def __init__(self, broken: str) -> None:
        self.broken = broken
        self.section = os.memfd_create("section")
        size = FIRST + PLACE * PLACES
        os.ftruncate(self.section, size)
        self.picture = mmap.mmap(self.section, size)
        self.regions = {
            0: Region(0x60),
            2: Region(MEMORY),
            3: Region(64),
            9: Region(size, migration=True, areas=[(FIRST, PLACE * PLACES)], fd=self.section),
        }
        self.state = RUNNING
        self.memory = bytearray(MEMORY)
        self.wear = [0] * 16
        self.scratch = [0] * 8
        self.ran, self.since = 0.0, time.monotonic()
        self.address = self.length = self.order = self.sender = 0
        self.lost = False
        self.stamp = 1  # of the last write, here or in the host
        self.blocks = [1] * 16
        self.pages: dict[int, int] = {}
        self.reported: dict[int, int] = {}
        self.tracked_from: int | None = None
        self.pinned: dict[int, int] = {}
        self.views: dict[int, mmap.mmap] = {}
        self.place = 0
        self.begin()

    def begin(self) -> None:
        """End the session of migration: the next one starts at the beginning."""
        self.saved = [0] * PLACES  # for each quarter, the stamp of what the user has
        self.on_offer: int | None = None
        self.place = 0
        self.got: set[int] = set()

    def opened(self) -> None:
        self.state = RUNNING
        self.since = time.monotonic()
        if self.broken != "place-kept":
            self.begin()

    def closed(self) -> None:
        self.tick()
        self.order = 0
        self.tracked_from = None
        self.pinned.clear()
        for view in self.views.values():
            view.close()
        self.views.clear()

    def reset(self) -> None:
        self.tick()
        self.order = 0
        self.state = RUNNING
        self.begin()

    # ---- the card ---------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        now = time.monotonic()
        if self.state & RUNNING:
            self.ran += (now - self.since) * 1e6
        self.since = now

    def send(self, number: int | None) -> Job:
        """Write the memory, page by page, as often as the host's range has room for it."""
        at, end = self.address, self.address + self.length
        self.server.lookup(at, self.length)
        self.stamp += 1
        while at < end:
            size = min(end, (at // 4096 + 1) * 4096) - at
            if number is not None and (number != self.sender or not self.state & RUNNING):
                return
            mapping = self.server.lookup(at, size)[0][0]
            self.stamp_pages(at, size)
            start = (at - self.address) % MEMORY
            data = (struct.pack("<Q", self.stamp) + self.memory[start + 8 : start + size]).ljust(size, b"\xee")[:size]
            if mapping.fd < 0:
                yield from self.server.dma_write(at, data)
            else:
                place = at - mapping.iova
                self.view(mapping)[place : place + size] = data
            at += size

    def view(self, mapping: Mapping) -> mmap.mmap:
        if mapping.iova not in self.views:
            if mapping.offset % mmap.ALLOCATIONGRANULARITY:
                raise refuse(errno.EFAULT)
            self.views[mapping.iova] = mmap.mmap(mapping.fd, mapping.size, offset=mapping.offset)
        return self.views[mapping.iova]

    def start_sending(self) -> None:
        self.sender += 1
        self.server.spawn(self.sending(self.sender))

    def sending(self, number: int) -> Job:
        while self.order == 2 and number == self.sender:
            if self.state & RUNNING:
                try:
                    yield from self.send(number)
                except (OSError, ValueError):
                    self.lost, self.order = True, 0
            yield 0.004

    def read(self, region: int, offset: int, count: int) -> Any:
        if region == 9:
            return self.read_migration(offset, count)
        if region == 2:
            return bytes(self.memory[offset : offset + count])
        if region == 3:
            if count != 4 or offset % 4:
                raise refuse(errno.EINVAL)
            return struct.pack("<I", self.wear[offset // 4])
        self.tick()
        if count == 2 and offset in (0x18, 0x1A):
            return struct.pack("<H", self.order if offset == 0x18 else (self.order == 2) | self.lost << 1)
        if count == 8 and offset % 8 == 0 and offset != 0x18:
            values = [int(self.ran), self.address, self.length, 0, *self.scratch]
            return struct.pack("<Q", values[offset // 8])
        raise refuse(errno.EINVAL)

    def write(self, region: int, offset: int, data: bytes) -> Any:
        if region == 9:
            return self.write_migration(offset, data)
        count = len(data)
        if region == 2:
            self.memory[offset : offset + count] = data
            self.stamp += 1
            for block in range(offset // BLOCK, (offset + count - 1) // BLOCK + 1):
                self.wear[block] = (self.wear[block] + 1) & 0xFFFFFFFF
                self.blocks[block] = self.stamp
            return None
        if region == 0 and (offset, count) == (0x18, 2):
            return self.command(struct.unpack("<H", data)[0])
        if region != 0 or count != 8 or offset % 8 or offset in (0, 0x18):
            raise refuse(errno.EINVAL)
        value = struct.unpack("<Q", data)[0]
        if offset == 0x08:
            self.address = value
        elif offset == 0x10:
            self.length = value
        else:
            self.scratch[offset // 8 - 4] = value
        return None

    def command(self, order: int) -> Any:
        if order > 4 or (order and not 0 < self.length <= 1 << 20):
            raise refuse(errno.EINVAL)
        page = self.server.page
        pages = range(self.address // page, (self.address + self.length - 1) // page + 1)
        if order == 3:
            self.server.lookup(self.address, self.length)
            for each in pages:
                self.pinned[each] = self.pinned.get(each, 0) + 1
        elif order == 4:
            if any(each not in self.pinned for each in pages):
                raise refuse(errno.ENOENT)
            self.stamp += 1
            self.stamp_pages(self.address, self.length)
            for each in pages:
                self.pinned[each] -= 1
                if not self.pinned[each]:
                    del self.pinned[each]
        elif order == 0:
            self.order, self.lost = 0, False
        elif not self.state & RUNNING:
            raise refuse(errno.EBUSY)
        else:
            self.lost = False
            already, self.order = self.order == 2, 2 if order == 2 else 0
            if order == 1:
                return self.send(None)
            if not already:
                self.start_sending()
        return None

    # ---- memory of the host -----------------------------------------------------------------------------------------

    def stamp_pages(self, at: int, size: int) -> None:
        if self.tracked_from is not None:
            page = self.server.page
            self.stamp += 1
            for each in range(at // page, (at + size - 1) // page + 1):
                self.pages[each] = self.stamp

    def unmapped(self, mapping: Mapping) -> None:
        if mapping.iova in self.views:
            self.views.pop(mapping.iova).close()
        first, last = mapping.iova // self.server.page, mapping.end // self.server.page
        for table in (self.pages, self.pinned, self.reported):
            for each in [each for each in table if first <= each < last]:
                del table[each]

    def tracking(self) -> bool:
        return self.tracked_from is not None

    def track(self, on: bool) -> None:
        if not on:
            self.tracked_from = None
        elif self.tracked_from is None:
            self.pages.clear()
            self.reported.clear()
            self.tracked_from = self.stamp

    def bitmap(self, iova: int, pages: int) -> bytes:
        first = iova // self.server.page
        chosen = [each for each, stamp in self.pages.items() if first <= each < first + pages]
        young = [each for each in chosen if self.pages[each] > self.reported.get(each, self.tracked_from or 0)]
        for each in young:
            self.reported[each] = self.pages[each]
        bits = bytearray(-(-pages // 8))
        for each in [*young, *(each for each in self.pinned if first <= each < first + pages)]:
            bits[(each - first) // 8] |= 1 << (each - first) % 8
        return bytes(bits)

    # ---- migration --------------------------------------------------------------------------------------------------

    def change(self, new: int) -> None:
        if new not in (0, 1, 2, 3, 4):
            raise refuse(errno.EINVAL)
        old = self.state
        if new == old:
            return
        if old == RESUMING and self.got and 4 not in self.got:
            raise refuse(errno.ENODATA, "the registers were not given")
        self.tick()
        self.state = new
        if (old, new) == (3, 2):
            self.on_offer = None  # the user may have read all of it, or not, so it is sent again
        elif old & (SAVING | RESUMING):
            self.begin()
        self.since = time.monotonic()

    def wanted(self) -> list[int]:
        """The places that are still to be saved."""
        quarters = [n for n in range(4) if max(self.blocks[n * 4 : n * 4 + 4]) > self.saved[n]]
        return quarters + ([4] if self.state == SAVING and not self.saved[4] else [])

    def pending(self) -> int:
        if not self.state & SAVING:
            return 0
        if self.on_offer is not None:
            self.saved[self.on_offer] = HEAD.unpack_from(self.picture, FIRST + self.on_offer * PLACE)[3]
            self.on_offer = None
        return PART * len(self.wanted())

    def offset(self) -> int:
        if self.state & SAVING and self.on_offer is None and self.wanted():
            self.on_offer = self.place = self.wanted()[0]
            self.paint(self.place)
        return FIRST + self.place * PLACE

    def paint(self, place: int) -> None:
        if place < 4:
            stamp = max(self.blocks[place * 4 : place * 4 + 4])
            body = struct.pack("<4I", *self.wear[place * 4 : place * 4 + 4])
            body += self.memory[place * QUARTER : (place + 1) * QUARTER]
        else:
            self.tick()
            stamp, body = 1, PLAIN.pack(int(self.ran), self.address, self.length, self.order, *self.scratch)
        text = HEAD.pack(MAGIC, len(body), place, stamp) + body
        start = FIRST + place * PLACE
        self.picture[start : start + len(text)] = text
        self.offered_size = len(text)

    def put(self, size: int) -> None:
        """Store a given place in the memory."""
        start = FIRST + self.place * PLACE
        if not HEAD.size <= size <= PLACE:
            raise refuse(errno.EINVAL)
        magic, length, place, _ = HEAD.unpack_from(self.picture, start)
        wanted = PLAIN.size if place == 4 else PART
        if magic != MAGIC or place > 4 or length != wanted or size != HEAD.size + length:
            raise refuse(errno.EBADMSG)
        body = self.picture[start + HEAD.size : start + size]
        if place < 4:
            self.wear[place * 4 : place * 4 + 4] = struct.unpack_from("<4I", body)
            self.memory[place * QUARTER : (place + 1) * QUARTER] = body[16:]
            self.stamp += 1
            self.blocks[place * 4 : place * 4 + 4] = [self.stamp] * 4
            if self.broken == "restoring-wears":  # takes the path of all writes, which count as wear
                self.wear[place * 4 : place * 4 + 4] = [each + 1 for each in self.wear[place * 4 : place * 4 + 4]]
        else:
            ran, self.address, self.length, order, *self.scratch = PLAIN.unpack(body)
            self.ran = float(ran)
            self.order = order
            if order == 2:
                self.start_sending()
        self.got.add(place)
        self.place = (self.place + 1) % PLACES

    def read_migration(self, offset: int, count: int) -> bytes:
        if offset >= 32:
            return self.picture[offset : offset + count]
        if (offset, count) in ((0, 4), (4, 4)):
            return struct.pack("<I", 0 if offset else self.state)
        if (offset, count) == (8, 8):
            return struct.pack("<Q", self.pending())
        if (offset, count) == (16, 8):
            return struct.pack("<Q", self.offset())
        if (offset, count) == (24, 8):
            return struct.pack("<Q", self.offered_size if self.on_offer is not None else 0)
        raise refuse(errno.EINVAL)

    def write_migration(self, offset: int, data: bytes) -> None:
        if offset >= 32:
            if self.state != RESUMING:
                raise refuse(errno.EPERM)
            self.picture[offset : offset + len(data)] = data
        elif (offset, len(data)) == (0, 4):
            self.change(struct.unpack("<I", data)[0])
        elif (offset, len(data)) == (24, 8):
            if self.state != RESUMING:
                raise refuse(errno.EPERM)
            self.put(struct.unpack("<Q", data)[0])
        elif (offset, len(data)) != (4, 4):
            raise refuse(errno.EINVAL)


if __name__ == "__main__":
    main(Elephant, __doc__, ("restoring-wears", "place-kept"))
