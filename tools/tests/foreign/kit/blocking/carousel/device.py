# SPDX-License-Identifier: GPL-2.0-only
"""A packet switch: a table of stations, memory for packets, and a queue from which frames go out one by one.

BAR 4, each register only at its own width:

    0x00  8  clock in ns, stopped while the switch is; read only
    0x10  8  where frames go in memory
    0x18  4  length
    0x20  4  bit 0: forward a frame at once; bit 1: forward all the time; bit 2: end that; bit 3: queue a frame, which
             takes 8 ms while the switch runs
    0x24  4  bit 0: the last frame is out; bit 1: it was dropped; read only
    0x30  8  pin length bytes from this address
    0x38  8  unpin the range pinned from this address
    0x80  8  and so on: the stations at the 32 ports

The data section is a ring of 8 slots of 8 KiB from 0x1000 on, all mapped, each an area of its own. A buffer is in the
next slot, in saving as in resuming, and the ring does not return to its start when a session begins.

The state is 11 chunks of memory, and a last one with registers and the queued frame. A chunk is due while its checksum
differs from the one that was sent. The data is restored when resuming is left; if some is missing, the switch enters
the error state.

Dirty memory is a list of intervals. A bitmap covers only whole mappings. Memory is written by messages if no descriptor
came.
"""

from __future__ import annotations

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

SLOT, SLOTS, RING = 8192, 8, 0x1000
CHUNK, CHUNKS = 8000, 11
PORTS, ROW = 32, 2700  # the stations are ROW bytes apart in memory
HEAD = struct.Struct("<HHI")
LAST = struct.Struct("<QQIIQ8x")
NEXT = {1: (0, 2, 3, 4), 3: (2, 1), 2: (0, 1), 0: (1, 2), 4: (1,)}


class Carousel(wire.Card):
    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.fd = os.memfd_create("slots")
        os.ftruncate(self.fd, RING + SLOT * SLOTS)
        self.ring = mmap.mmap(self.fd, SLOT * SLOTS, offset=RING)
        areas = [(RING + SLOT * n, SLOT) for n in range(SLOTS)]
        region = wire.Region(RING + SLOT * SLOTS, kind=wire.MIGRATION, areas=areas, fd=self.fd)
        empty = wire.Region(0, flags=0)
        self.regions = [empty, empty, empty, empty, wire.Region(384), *[empty] * 6, region]
        self.turn = 0
        self.maps: dict[int, tuple[int, mmap.mmap | None, bool]] = {}
        self.tracked = False
        self.spans: list[tuple[int, int]] = []
        self.pins: list[tuple[int, int]] = []
        self.clean()

    # ---- the switch --------------------------------------------------------------------------------------------------
    def clean(self) -> None:
        self.state = 1
        self.clock, self.since = 0, time.monotonic_ns()
        self.store = bytearray(CHUNK * CHUNKS)
        self.target = self.length = self.status = self.frames = 0
        self.flood, self.flood_at = False, 0
        self.left = 0  # ns left for the queued frame; 0: none is queued
        self.ring[:] = bytes(SLOT * SLOTS)
        self.session()

    def opened(self) -> None:
        self.unmap_all()
        self.tracked = False
        self.clean()

    def closed(self) -> None:
        self.opened()

    def reset(self) -> None:
        self.clean()
        if self.tracked:
            self.spans += self.pins
        self.pins = []

    def advance(self) -> None:
        """Catches up with the time."""
        now = time.monotonic_ns()
        gone = now - self.since if self.state in (1, 3) else 0
        self.since = now
        self.clock += gone
        if self.left and gone:
            self.left -= gone
            if self.left <= 0:
                self.left = 0
                self.forward()

    def wait(self) -> float | None:
        if self.state not in (1, 3):
            return None
        now = time.monotonic_ns()
        ends = [self.since + self.left] if self.left else []
        ends += [self.flood_at] if self.flood else []
        return max(0, min(ends) - now) / 1e9 if ends else None

    def tick(self) -> None:
        self.advance()
        if self.flood and self.flood_at <= self.since:
            self.flood_at = self.since + 12_000_000
            self.forward()
            self.flood = self.status == 1

    def holds(self, start: int, end: int) -> list[tuple[int, int, int]]:
        """The mappings that a range crosses, with the parts in them; none if a part of it is not mapped."""
        parts = []
        while start < end:
            for base, (size, _, writable) in self.maps.items():
                if base <= start < base + size and writable:
                    parts.append((base, start, min(end, base + size)))
                    start = base + size
                    break
            else:
                return []
        return parts

    def forward(self) -> None:
        parts = self.holds(self.target, self.target + self.length)
        if not parts:
            self.status = 2
            return
        self.frames += 1
        if self.tracked:
            self.spans.append((self.target, self.target + self.length))
        frame = struct.pack("<QQ", self.frames, self.clock ^ 0x5AA5 << 40) * (self.length // 16 + 1)
        for base, start, end in parts:
            view = self.maps[base][1]
            piece = frame[start - self.target : end - self.target]
            try:
                if view is not None:
                    view[start - base : end - base] = piece
                else:
                    self.link.put(start, piece)
            except OSError:
                self.status = 2
                return
        self.status = 1

    def command(self, bits: int) -> None:
        if bits & 4:
            self.flood = False
        if bits & 11 and not 0 < self.length <= 1 << 18:
            self.status = 2
            return
        if bits & 1:
            self.status = 0
            if self.state in (1, 3):
                self.forward()
            else:
                self.left, self.status = 1, 0
        if bits & 2:
            self.flood, self.flood_at = True, 0
        if bits & 8:
            self.left, self.status = 8_000_000, 0

    def bar_read(self, offset: int, count: int) -> bytes:
        if offset >= 0x80 and offset % 8 == 0 and count == 8:
            row = (offset - 0x80) // 8 * ROW
            return bytes(self.store[row : row + 8])
        known = {0x00: (8, self.clock), 0x10: (8, self.target), 0x18: (4, self.length), 0x24: (4, self.status)}
        size, value = known.get(offset, (4, 0) if offset == 0x20 else (8, 0) if offset in (0x30, 0x38) else (0, 0))
        if size != count:
            raise wire.refuse()
        return value.to_bytes(size, "little")

    def bar_write(self, offset: int, data: bytes) -> None:
        value, count = int.from_bytes(data, "little"), len(data)
        if offset >= 0x80 and offset % 8 == 0 and count == 8:
            row = (offset - 0x80) // 8 * ROW
            self.store[row : row + 8] = data
        elif (offset, count) == (0x10, 8):
            self.target = value
        elif (offset, count) == (0x18, 4):
            self.length = value
        elif (offset, count) == (0x20, 4):
            self.command(value)
        elif (offset, count) == (0x30, 8):
            if not self.length or not self.holds(value, value + self.length):
                raise wire.refuse(errno.EFAULT)
            self.pins.append((value, value + self.length))
        elif (offset, count) == (0x38, 8):
            for pin in [pin for pin in self.pins if pin[0] == value]:
                self.pins.remove(pin)
                if self.tracked:
                    self.spans.append(pin)
        else:
            raise wire.refuse()

    # ---- migration ---------------------------------------------------------------------------------------------------
    def session(self) -> None:
        self.sent: dict[int, int] = {}
        self.offer: tuple[int, int, bytes] | None = None
        self.wrapped: set[int] = set()
        self.finished = False
        self.came: dict[int, bytes] = {}

    def due(self) -> list[int]:
        parts = (self.store[n * CHUNK : (n + 1) * CHUNK] for n in range(CHUNKS))
        return [n for n, part in enumerate(parts) if self.sent.get(n) != zlib.crc32(part)]

    def here(self) -> int:
        return RING + self.turn % SLOTS * SLOT

    def pending(self) -> int:
        if self.state not in (2, 3):
            return 0
        if self.offer is not None:
            number, mark, _ = self.offer
            self.offer = None
            self.turn += 1
            if number == CHUNKS:
                self.finished = True
            else:
                self.sent[number] = mark
        if self.finished:
            return 0
        return len(self.due()) * (CHUNK + HEAD.size) + (HEAD.size + LAST.size if self.state == 2 else 0)

    def place(self) -> int:
        if self.state not in (2, 3) or self.offer is not None or self.finished:
            return self.here()
        due = self.due()
        if due:
            body = bytes(self.store[due[0] * CHUNK : (due[0] + 1) * CHUNK])
            number = due[0]
        elif self.state == 2:
            body = LAST.pack(self.clock, self.target, self.length, self.status, self.left)
            number = CHUNKS
        else:
            return self.here()
        mark = zlib.crc32(body)
        data = HEAD.pack(number, len(body), mark) + body
        slot = self.turn % SLOTS
        if self.fault != "stale-view" or slot not in self.wrapped:
            self.ring[slot * SLOT : slot * SLOT + len(data)] = data
        self.wrapped.add(slot)
        self.offer = number, mark, data
        return self.here()

    def take(self, size: int) -> None:
        if size > SLOT:
            raise wire.refuse(errno.E2BIG)
        start = self.turn % SLOTS * SLOT
        data = self.ring[start : start + size]
        number, length, mark = HEAD.unpack_from(data)
        body = data[HEAD.size :]
        if number > CHUNKS or length != len(body) or mark != zlib.crc32(body):
            raise wire.refuse(errno.EILSEQ)
        self.came[number] = body
        self.turn += 1

    def restore(self) -> bool:
        if not self.came:
            return True
        if len(self.came) <= CHUNKS or len(self.came[CHUNKS]) != LAST.size:
            return False
        self.store[:] = b"".join(self.came[n] for n in range(CHUNKS))
        self.clock, self.target, self.length, self.status, self.left = LAST.unpack(self.came[CHUNKS])
        return True

    def change(self, wanted: int) -> None:
        if self.state == 6 or wanted & ~7:
            raise wire.refuse()
        if wanted == self.state:
            return
        if wanted not in NEXT[self.state]:
            raise wire.refuse()
        self.advance()
        if self.state == 4 and not self.restore():
            self.state = 6
            raise wire.refuse(errno.EIO)
        if self.fault == "flight-lost" and not wanted & 1 and self.left:
            self.resting, self.left = self.left, 0
        if (self.state, wanted) == (3, 2):
            self.offer = None
        else:
            self.session()
        self.state = wanted

    def view(self, offset: int, count: int) -> bytes:
        """A read of the ring."""
        at = offset - RING
        data = self.ring[at : at + count]
        if self.fault == "stale-view" and self.offer is not None:
            slot = bytearray(self.ring[:])
            start = self.turn % SLOTS * SLOT
            slot[start : start + len(self.offer[2])] = self.offer[2]
            data = bytes(slot[at : at + count])
        return data

    # ---- called by the wire ------------------------------------------------------------------------------------------
    def read(self, region: int, offset: int, count: int) -> bytes:
        self.advance()
        if region == 4:
            return self.bar_read(offset, count)
        if offset >= RING:
            return self.view(offset, count)
        if offset >= 32:
            return bytes(count)
        if (count, offset) not in ((4, 0), (4, 4), (8, 8), (8, 16), (8, 24)):
            raise wire.refuse()
        if offset == 0:
            value = self.state
        elif offset == 8:
            value = self.pending()
        elif offset == 16:
            value = self.place()
        else:
            value = len(self.offer[2]) if offset == 24 and self.offer else 0
        return value.to_bytes(count, "little")

    def write(self, region: int, offset: int, data: bytes) -> None:
        self.advance()
        value, count = int.from_bytes(data, "little"), len(data)
        if region == 4:
            self.bar_write(offset, data)
        elif offset >= RING:
            if self.state != 4:
                raise wire.refuse(errno.EACCES)
            self.ring[offset - RING : offset - RING + count] = data
        elif (offset, count) == (0, 4):
            self.change(value)
        elif (offset, count) == (24, 8) and self.state == 4:
            self.take(value)
        elif (offset, count) != (4, 4):
            raise wire.refuse(errno.EACCES)

    def map(self, address: int, size: int, flags: int, fd: int, offset: int) -> None:
        if (address | size) % self.page:
            raise wire.refuse()
        if any(address < base + there[0] and base < address + size for base, there in self.maps.items()):
            raise wire.refuse(errno.EEXIST)
        view = None
        if fd >= 0 and flags & 2 and os.fstat(fd).st_size >= offset + size:
            view = mmap.mmap(fd, size, offset=offset)
        self.maps[address] = size, view, bool(flags & 2)

    def cut(self, spans: list[tuple[int, int]], start: int, end: int) -> list[tuple[int, int]]:
        """The parts of intervals outside a range."""
        left = []
        for low, high in spans:
            if high <= start or end <= low:
                left.append((low, high))
                continue
            if low < start:
                left.append((low, start))
            if end < high and self.fault != "tail-dropped":
                left.append((end, high))
        return left

    def unmap(self, address: int, size: int) -> None:
        if address not in self.maps or self.maps[address][0] != size:
            raise wire.refuse(errno.ENOENT)
        _, view, _ = self.maps.pop(address)
        if view is not None:
            view.close()
        self.spans = self.cut(self.spans, address, address + size)
        if self.fault == "pin-let-go-whole":
            self.pins = [pin for pin in self.pins if pin[1] <= address or address + size <= pin[0]]
        self.pins = self.cut(self.pins, address, address + size)

    def unmap_all(self) -> None:
        for _, view, _ in self.maps.values():
            if view is not None:
                view.close()
        self.maps, self.spans, self.pins = {}, [], []

    def track(self, on: bool) -> None:
        if not (on and self.tracked):
            self.spans = []
        self.tracked = on

    def bitmap(self, address: int, size: int, page: int, room: int) -> bytes:
        need = (size // page + 63) // 64 * 8 if page == self.page else 0
        end = address + size
        if not self.tracked or not need or (address | size) % page or not need <= room <= wire.LARGEST or end > 1 << 64:
            raise wire.refuse()
        for base, (length, _, _) in self.maps.items():
            if base < address < base + length or base < end < base + length:
                raise wire.refuse()
        bits = bytearray(room)
        for low, high in self.spans + self.pins:
            low, high = max(low, address) // page * page, min(high, end)
            for at in range(low, high, page):
                n = (at - address) // page
                bits[n // 8] |= 1 << n % 8
        self.spans = self.cut(self.spans, address, end)
        return bytes(bits)

    def unmap_with_bitmap(self, address: int, size: int, page: int, room: int) -> bytes:
        if address not in self.maps or self.maps[address][0] != size:
            raise wire.refuse(errno.ENOENT)
        bits = self.bitmap(address, size, page, room)
        self.unmap(address, size)
        return bits


if __name__ == "__main__":
    wire.serve(Carousel(wire.broken_by()))
