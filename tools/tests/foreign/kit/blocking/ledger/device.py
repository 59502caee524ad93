# SPDX-License-Identifier: GPL-2.0-only
"""An accounting coprocessor: 512 accounts, each with a balance and an owner's name, and a printer of statements.

BAR 2, each register only at its own width:

    0x00    8  where statements go in memory
    0x08    4  their length
    0x0c    4  order: 1 print one, 2 print without end, 3 stop printing, 4 pin the pages, 5 unpin them
    0x10    4  bit 1: the last order failed; read only
    0x28    4  transactions since reset, one every 250 us while it runs; read only
    0x40    4  1: the auditor finds a difference, and the next change of state fails
    0x1000  8  and so on: the balances

The migration region has a section of three parts: 0x20 to 0x1000 trapped, 0x1000 to 0x3000 mapped, and from there to
0x5800 trapped again. Buffers are at four places in turn, and most extend from one part into the next.

Each buffer is a number, then records of accounts, then a checksum. An account is sent if the target does not have its
record, in pre-copy as in stop-and-copy; the last buffer closes the book. A buffer that was not confirmed by a read of
pending_bytes is made again, with the same number, which the target takes for a correction.

Dirty pages are a long number for each mapping. Memory is written through its descriptor, or by messages without one.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import struct
import sys
import time
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from blocking import wire

ACCOUNTS = 512
FRONT, MIDDLE, BACK, END = 0x20, 0x1000, 0x3000, 0x5800
PLACES = ((0x0B31, 4001), (0x1000, 9973), (0x3003, 1999), (0x0FF9, 8999))
HEAD = struct.Struct("<2sHH")
RUNNING, SAVING, RESUMING = 1, 2, 4
VALID = (0, 1, 2, 3, 4)
BAD = 6


def owner(number: int) -> bytes:
    return (b"account %d of " % number) + b"somebody with a name " * (1 + number % 3)


class Mapping:
    def __init__(self, start: int, size: int, flags: int, view: mmap.mmap | None) -> None:
        self.start, self.size, self.flags, self.view = start, size, flags, view
        self.dirty = 0
        self.pins: list[tuple[int, int]] = []


class Ledger(wire.Card):
    short_bitmap_refused = False

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.fd = os.memfd_create("section")
        os.ftruncate(self.fd, BACK)  # its first part is a hole
        none = [wire.Region(0, flags=0) for _ in range(9)]
        none[2] = wire.Region(0x2000)
        areas = [(MIDDLE, BACK - MIDDLE)]
        self.middle = mmap.mmap(self.fd, BACK - MIDDLE, offset=MIDDLE)
        self.regions = [*none, wire.Region(END, kind=wire.MIGRATION, areas=areas, fd=self.fd)]
        self.memory: list[Mapping] = []
        self.tracked = False
        self.fresh()

    # ---- the coprocessor ---------------------------------------------------------------------------------------------
    def fresh(self) -> None:
        self.state = RUNNING
        self.balances = [0] * ACCOUNTS
        self.address = self.length = self.failed = 0
        self.printing, self.printed, self.due = False, 0, 0.0
        self.count, self.started = 0, time.monotonic()
        self.audit = False
        self.front, self.back = bytearray(MIDDLE), bytearray(END - BACK)
        self.middle[:] = bytes(BACK - MIDDLE)
        self.begin()

    def opened(self) -> None:
        self.unmap_all()
        self.tracked = False
        self.fresh()

    def closed(self) -> None:
        self.opened()

    def reset(self) -> None:
        self.fresh()

    def transactions(self) -> int:
        extra = int((time.monotonic() - self.started) * 4000) if self.state & RUNNING and self.state != BAD else 0
        return self.count + extra

    def parts(self, address: int, length: int) -> list[tuple[Mapping, int, int]]:
        """The mappings that together hold a whole range: each with the offset in it and a length."""
        found = []
        while length > 0:
            mapping = next((m for m in self.memory if m.start <= address < m.start + m.size and m.flags & 2), None)
            if mapping is None:
                raise wire.refuse(errno.EFAULT)
            step = min(length, mapping.start + mapping.size - address)
            found.append((mapping, address - mapping.start, step))
            address, length = address + step, length - step
        return found

    def mask(self, offset: int, length: int) -> int:
        first, last = offset // self.page, (offset + length - 1) // self.page
        return ((1 << (last - first + 1)) - 1) << first

    def print(self) -> None:
        parts = self.parts(self.address, self.length)
        self.printed += 1
        line = b"statement %08d: balance %016x\n" % (self.printed, self.balances[self.printed % ACCOUNTS])
        text = (line * (self.length // len(line) + 1))[: self.length]
        for mapping, offset, length in parts:
            if self.tracked:
                mapping.dirty |= self.mask(offset, length)
            if mapping.view is not None:
                mapping.view[offset : offset + length] = text[:length]
            else:
                self.link.put(mapping.start + offset, text[:length])
            text = text[length:]

    def wait(self) -> float | None:
        if not self.printing or not self.state & RUNNING:
            return None
        return max(0.0, self.due - time.monotonic())

    def tick(self) -> None:
        self.due = time.monotonic() + 0.02
        try:
            self.print()
        except OSError:
            self.printing, self.failed = False, 2

    def order(self, number: int) -> None:
        self.failed = 0
        try:
            if number in (1, 2, 4) and not 0 < self.length <= 1 << 20:
                raise wire.refuse()
            if number == 1 and self.state & RUNNING:
                self.print()
            elif number == 2:
                self.printing, self.due = True, 0.0
            elif number == 3:
                self.printing = False
            elif number == 4:
                for mapping, offset, length in self.parts(self.address, self.length):
                    mapping.pins.append((offset, length))
            elif number == 5:
                for mapping, offset, length in self.parts(self.address, max(1, self.length)):
                    if (offset, length) in mapping.pins:
                        mapping.pins.remove((offset, length))
                        if self.tracked:
                            mapping.dirty |= self.mask(offset, length)
            else:
                self.failed = 2
        except OSError:
            self.failed = 2

    # ---- the section -------------------------------------------------------------------------------------------------
    def fetch(self, offset: int, count: int) -> bytes:
        data = bytes(self.front[offset : offset + count]) if offset < MIDDLE else b""
        low, high = max(offset, MIDDLE), min(offset + count, BACK)
        if low < high:
            data += self.middle[low - MIDDLE : high - MIDDLE]
        if offset + count > BACK:
            data += self.back[max(offset, BACK) - BACK : offset + count - BACK]
        return data

    def store(self, offset: int, data: bytes, middle: bool = True) -> None:
        end = offset + len(data)
        if offset < MIDDLE:
            step = min(end, MIDDLE)
            self.front[offset:step] = data[: step - offset]
        low, high = max(offset, MIDDLE), min(end, BACK)
        if low < high and middle:
            self.middle[low - MIDDLE : high - MIDDLE] = data[low - offset : high - offset]
        if end > BACK:
            start = max(offset, BACK)
            self.back[start - BACK : end - BACK] = data[start - offset :]

    # ---- migration ---------------------------------------------------------------------------------------------------
    def begin(self) -> None:
        """Begins a session of saving or resuming."""
        self.unsent = set(range(ACCOUNTS))
        self.packed: set[int] = set()
        self.changed: set[int] = set()
        self.buffer = b""
        self.offered = self.closed_book = False
        self.number = 0
        self.given: dict[int, int] = {}
        self.given_count: int | None = None
        self.given_any = False

    def record(self, account: int) -> bytes:
        name = owner(account)
        return struct.pack("<HQB", account, self.balances[account], len(name)) + name

    def pack(self) -> None:
        room = PLACES[self.number % 4][1] - HEAD.size - 4
        body, count, self.packed = b"", 0, set()
        for account in sorted(self.unsent):
            record = self.record(account)
            if len(body) + len(record) > room:
                break
            body += record
            count += 1
            self.packed.add(account)
        if not count:
            body = struct.pack("<IQI", self.transactions(), self.address, self.length) + b"."
        whole = HEAD.pack(b"LG", self.number, count) + body
        self.buffer = whole + struct.pack("<I", zlib.crc32(whole))
        self.changed = set()
        self.store(PLACES[self.number % 4][0], self.buffer, middle=self.fault != "fill-at-size")

    def pending(self) -> int:
        if not self.state & SAVING or self.state == BAD:
            return 0
        if self.offered:
            self.offered = False
            self.unsent -= self.packed - self.changed
            if not self.packed:
                self.closed_book = True
            self.number = self.number + 1 & 0xFFFF
            self.buffer = b""
        if self.closed_book:
            return 0
        return sum(len(self.record(a)) for a in self.unsent) + (0 if self.state & RUNNING else 27)

    def place(self) -> int:
        if self.state & SAVING and self.state != BAD and not self.buffer:
            if self.closed_book or (self.state & RUNNING and not self.unsent):
                return PLACES[self.number % 4][0]
            self.pack()
        self.offered = self.offered or bool(self.buffer)
        return PLACES[self.number % 4][0]

    def size(self) -> int:
        if self.fault == "fill-at-size" and self.buffer:
            self.store(PLACES[self.number % 4][0], self.buffer)
        return len(self.buffer)

    def take(self, size: int) -> None:
        place = PLACES[self.number % 4][0]
        if self.state != RESUMING:
            raise wire.refuse(errno.EPERM)
        if size > END - place:
            raise wire.refuse()
        data = self.fetch(place, size)
        if size < HEAD.size + 4 or zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
            raise wire.refuse(errno.EBADMSG)
        magic, number, count = HEAD.unpack_from(data)
        expected = getattr(self, "next_given", 0) if self.given_any else 0
        if magic != b"LG" or number not in (expected, expected - 1):
            raise wire.refuse(errno.EBADMSG)
        at = HEAD.size
        for _ in range(count):
            account, balance, length = struct.unpack_from("<HQB", data, at)
            if account >= ACCOUNTS or data[at + 11 : at + 11 + length] != owner(account):
                raise wire.refuse(errno.EBADMSG)
            self.given[account] = balance
            at += 11 + length
        if not count:
            self.given_count, self.given_address, self.given_length = struct.unpack_from("<IQI", data, at)
        self.given_any = True
        self.next_given = number + 1
        self.number += 1

    def apply(self) -> None:
        if not self.given_any:
            return
        if self.given_count is None or len(self.given) != ACCOUNTS:
            raise wire.refuse(errno.ENODATA)
        self.balances = [self.given[account] for account in range(ACCOUNTS)]
        self.count, self.address, self.length = self.given_count, self.given_address, self.given_length

    def change(self, wanted: int) -> None:
        if self.state == BAD or wanted & 7 not in VALID:
            raise wire.refuse()
        count = self.transactions()
        if self.audit:
            self.count, self.state = count, BAD
            raise wire.refuse(errno.EIO)
        wanted &= 7
        if wanted == self.state:
            return
        self.count, self.started = count, time.monotonic()
        if self.state == RESUMING:
            self.apply()
        if (self.state, wanted) == (RUNNING | SAVING, SAVING):
            self.offered, self.buffer = False, b""
        else:
            self.begin()
        self.state = wanted

    def credit(self, account: int, balance: int) -> None:
        self.balances[account] = balance
        self.changed.add(account)
        if not self.closed_book:
            self.unsent.add(account)

    # ---- called by the wire ------------------------------------------------------------------------------------------
    def read(self, region: int, offset: int, count: int) -> bytes:
        if region == 2:
            if count == 8 and offset >= 0x1000 and offset % 8 == 0:
                return self.balances[(offset - 0x1000) // 8].to_bytes(8, "little")
            values = {
                (0x00, 8): self.address,
                (0x08, 4): self.length,
                (0x0C, 4): 0,
                (0x10, 4): self.failed,
                (0x28, 4): self.transactions() & 0xFFFFFFFF,
                (0x40, 4): int(self.audit),
            }
            if (offset, count) not in values:
                raise wire.refuse()
            return values[offset, count].to_bytes(count, "little")
        if offset >= FRONT:
            return self.fetch(offset, count)
        if (offset, count) == (0, 4):
            value = self.state
        elif (offset, count) == (4, 4):
            value = 0
        elif (offset, count) == (8, 8):
            value = self.pending()
        elif (offset, count) == (16, 8):
            value = self.place()
        elif (offset, count) == (24, 8):
            value = self.size()
        else:
            raise wire.refuse()
        return value.to_bytes(count, "little")

    def write(self, region: int, offset: int, data: bytes) -> None:
        value, count = int.from_bytes(data, "little"), len(data)
        if region == 2:
            if count == 8 and offset >= 0x1000 and offset % 8 == 0:
                self.credit((offset - 0x1000) // 8, value)
            elif (offset, count) == (0x00, 8):
                self.address = value
            elif (offset, count) == (0x08, 4):
                self.length = value
            elif (offset, count) == (0x0C, 4):
                self.order(value)
            elif (offset, count) == (0x40, 4):
                self.audit = value == 1
            else:
                raise wire.refuse()
        elif offset >= FRONT:
            if self.state != RESUMING:
                raise wire.refuse(errno.EROFS)
            if self.fault == "seam-store" and count <= 8:
                data = data[: max(1, (BACK if offset >= MIDDLE else MIDDLE) - offset)] if offset < BACK else data
            self.store(offset, data)
        elif (offset, count) == (0, 4):
            self.change(value)
        elif (offset, count) == (24, 8):
            self.take(value)
        elif (offset, count) not in ((4, 4), (8, 8), (16, 8)):
            raise wire.refuse()

    def map(self, address: int, size: int, flags: int, fd: int, offset: int) -> None:
        if address % self.page or size % self.page:
            raise wire.refuse()
        if any(m.start < address + size and address < m.start + m.size for m in self.memory):
            raise wire.refuse(errno.EEXIST)
        view = None
        if fd >= 0 and flags & 2:
            with contextlib.suppress(OSError, ValueError, OverflowError):
                if os.fstat(fd).st_size >= offset + size:
                    view = mmap.mmap(fd, size, offset=offset)
        self.memory.append(Mapping(address, size, flags, view))

    def find(self, address: int, size: int) -> Mapping:
        for mapping in self.memory:
            if (mapping.start, mapping.size) == (address, size):
                return mapping
        raise wire.refuse(errno.ENOENT)

    def unmap(self, address: int, size: int) -> None:
        mapping = self.find(address, size)
        self.memory.remove(mapping)
        if mapping.view is not None:
            mapping.view.close()

    def unmap_all(self) -> None:
        for mapping in list(self.memory):
            self.unmap(mapping.start, mapping.size)

    def track(self, on: bool) -> None:
        if not on or not self.tracked:
            for mapping in self.memory:
                mapping.dirty = 0
        self.tracked = on

    def bitmap(self, address: int, size: int, page: int, room: int) -> bytes:
        pages = size // page if page else 0
        need = (pages + 63) // 64 * 8
        if not self.tracked or page != self.page or not pages or address % page or size % page:
            raise wire.refuse()
        if address + size > 1 << 64 or not need <= room or need > wire.LARGEST:
            raise wire.refuse()
        total = 0
        for mapping in self.memory:
            low, high = max(address, mapping.start), min(address + size, mapping.start + mapping.size)
            if low >= high:
                continue
            here = self.mask(low - mapping.start, high - low)
            bits = mapping.dirty & here
            mapping.dirty &= ~here
            for offset, length in mapping.pins:
                bits |= self.mask(offset, length) & here
            shift = (mapping.start - address) // page
            total |= bits << shift if shift >= 0 else bits >> -shift
        return total.to_bytes(need, "little")

    def unmap_with_bitmap(self, address: int, size: int, page: int, room: int) -> bytes:
        self.find(address, size)
        bits = self.bitmap(address, size, page, room)
        self.unmap(address, size)
        return bits


if __name__ == "__main__":
    wire.serve(Ledger(wire.broken_by()))
