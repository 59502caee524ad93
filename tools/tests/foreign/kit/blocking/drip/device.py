# SPDX-License-Identifier: GPL-2.0-only
"""A network card that keeps its buffers in memory of its own: 48 cells of 2 KiB.

BAR 3, small registers of many widths, each only at its own:

    0x04  4  ticks of 100 us while the card runs; read only
    0x08  8  address in the host's memory
    0x10  1  doorbell: 1 write the host's memory once, 2 all the time, 3 stop that, 4 send: read 64 bytes of the host's
             memory, and 5 ms later write their sum there
    0x11  1  bit 0: sent, bit 1: could not be sent; read only
    0x12  1  1: pin the transfer's pages, 2: unpin them
    0x13  4  length of a transfer; not aligned

BAR 5 is the memory, in pieces of 1 to 8 bytes. While the card runs, a frame arrives every 20 ms in one of the
cells 1 to 39, from its byte 64 on.

The data section is one mapped window of 16 KiB at 0x1000. The card knows which cells changed since they were last read.
In pre-copy, it offers up to four of those, again and again; stop-and-copy offers the rest, then the registers. A cell
is stored when data_size is written.

A mapping has a packed bitmap of its pages. Memory is written through its descriptor, and read by messages.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from blocking import wire

CELLS, CELL = 48, 2048
WINDOW, ROOM = 0x1000, 0x4000
CARD = struct.Struct("<4sQQIBBq")


class Host:
    """A piece of the host's memory."""

    def __init__(self, size: int, writable: bool, view: mmap.mmap | None, page: int) -> None:
        self.size, self.writable, self.view, self.page = size, writable, view, page
        self.bits = bytearray(-(-size // page // 8))

    def set(self, start: int, end: int) -> None:
        first, last = start // self.page, (end - 1) // self.page
        while first <= last:
            if first % 8 == 0 and last - first >= 7:
                whole = (last - first + 1) // 8
                self.bits[first // 8 : first // 8 + whole] = b"\xff" * whole
                first += whole * 8
            else:
                self.bits[first // 8] |= 1 << first % 8
                first += 1


class Drip(wire.Card):
    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.fd = os.memfd_create("window")
        os.ftruncate(self.fd, WINDOW + ROOM)
        self.window = mmap.mmap(self.fd, ROOM, offset=WINDOW)
        none = [wire.Region(0, flags=0) for _ in range(9)]
        none[3], none[5] = wire.Region(0x20), wire.Region(CELLS * CELL)
        region = wire.Region(WINDOW + ROOM, kind=wire.MIGRATION, areas=[(WINDOW, ROOM)], fd=self.fd)
        self.regions = [*none, region]
        self.host: dict[int, Host] = {}
        self.pins: dict[tuple[int, int], int] = {}
        self.logging = False
        self.stale: set[int] = set()
        self.boot()

    # ---- the card ----------------------------------------------------------------------------------------------------
    def boot(self) -> None:
        self.state = 1
        self.ran, self.seen = 0, time.monotonic_ns()  # ns for which the card has run
        self.cells = bytearray(CELLS * CELL)
        self.address = self.length = self.result = self.writes = 0
        self.always, self.next_write = False, 0
        self.sending = -1  # the time of running, in ns, at which a transfer is sent; -1: none is due
        self.stale = set(range(CELLS))
        self.leave()

    def leave(self) -> None:
        """The end of a session."""
        self.offer: list[int] | None = None
        self.size = 0
        self.done = False
        self.again: set[int] = set()
        self.complete = False
        self.any = False
        self.loaded: bytes | None = None

    def opened(self) -> None:
        self.unmap_all()
        self.logging = False
        self.boot()

    def closed(self) -> None:
        self.opened()

    def reset(self) -> None:
        self.boot()
        for (start, end), _ in self.pins.items():
            self.dirty(start, end)
        self.pins.clear()

    def pass_time(self) -> None:
        now = time.monotonic_ns()
        before = self.ran
        if self.state in (1, 3):
            self.ran += now - self.seen
        self.seen = now
        for frame in range(before // 20_000_000 + 1, min(self.ran // 20_000_000, before // 20_000_000 + 39) + 1):
            self.poke((1 + frame % 39) * CELL + 64, struct.pack("<Q", frame) * 16)
        if 0 <= self.sending <= self.ran:
            self.sending = -1
            self.send()

    def poke(self, at: int, data: bytes) -> None:
        self.cells[at : at + len(data)] = data
        cells = set(range(at // CELL, (at + len(data) - 1) // CELL + 1))
        self.stale |= cells
        if self.fault != "race-clear":
            self.again |= cells

    def dirty(self, start: int, end: int) -> None:
        if self.logging:
            for base, host in self.host.items():
                low, high = max(base, start), min(base + host.size, end)
                if low < high:
                    host.set(low - base, high - base)

    def reach(self, start: int, end: int) -> bool:
        for base, host in sorted(self.host.items()):
            if base <= start < base + host.size and host.writable:
                start = base + host.size
        return end <= start

    def deliver(self, start: int, data: bytes) -> None:
        end = start + len(data)
        if not data or not self.reach(start, end):
            raise wire.refuse(errno.EFAULT)
        self.dirty(start, end)
        for base, host in list(self.host.items()):
            low, high = max(base, start), min(base + host.size, end)
            if low < high:
                part = data[low - start : high - start]
                if host.view is None:
                    self.link.put(low, part)
                else:
                    host.view[low - base : high - base] = part

    def write_host(self) -> None:
        self.writes += 1
        data = struct.pack("<II", self.writes, ~self.writes & 0xFFFFFFFF)
        self.deliver(self.address, (data * (self.length // 8 + 1))[: min(self.length, 1 << 17)])

    def send(self) -> None:
        try:
            if not self.reach(self.address, self.address + 64):
                raise wire.refuse(errno.EFAULT)
            frame = self.link.get(self.address, 64)
            self.deliver(self.address, struct.pack("<Q", sum(frame) + 1))
            self.result = 1
        except OSError:
            self.result = 3

    def wait(self) -> float | None:
        if self.state not in (1, 3):
            return None
        now, ends = time.monotonic_ns(), []
        if self.sending >= 0:
            ends.append(self.seen + self.sending - self.ran)
        if self.always:
            ends.append(self.next_write)
        return max(0, min(ends) - now) / 1e9 if ends else None

    def tick(self) -> None:
        self.pass_time()
        if self.always and self.next_write <= self.seen:
            self.next_write = self.seen + 10_000_000
            try:
                self.write_host()
            except OSError:
                self.always = False

    def ring(self, number: int) -> None:
        if number == 1:
            if self.state in (1, 3):
                self.write_host()
        elif number in (2, 3):
            self.always, self.next_write = number == 2, 0
        elif number == 4:
            self.result, self.sending = 0, self.ran + 5_000_000
        else:
            raise wire.refuse()

    def pin(self, number: int) -> None:
        key = (self.address, self.address + self.length)
        if number == 1:
            if not self.length or not self.reach(*key):
                raise wire.refuse(errno.EFAULT)
            self.pins[key] = self.pins.get(key, 0) + 1
        elif key in self.pins:
            self.pins[key] -= 1
            if not self.pins[key]:
                del self.pins[key]
            self.dirty(*key)

    # ---- migration ---------------------------------------------------------------------------------------------------
    def pending(self) -> int:
        if self.offer is not None:
            self.stale -= set(self.offer) - self.again
            self.done = not self.offer
            self.offer, self.size = None, 0
        if self.state not in (2, 3) or self.done:
            return 0
        return len(self.stale) * (CELL + 4) + (CARD.size if self.state == 2 else 0)

    def read_out(self) -> None:
        if self.offer is not None or self.done or self.state not in (2, 3) or (self.state == 3 and not self.stale):
            return
        self.offer = sorted(self.stale)[:4]
        self.again = set()
        data = b"".join(struct.pack("<HH", n, CELL) + self.cells[n * CELL : (n + 1) * CELL] for n in self.offer)
        if not self.offer:
            data = CARD.pack(b"CARD", self.ran, self.address, self.length, self.result, self.always, self.sending)
        self.size = len(data)
        self.window[: self.size] = data

    def take(self, size: int) -> None:
        if self.state != 4:
            raise wire.refuse(errno.EACCES)
        if size > ROOM:
            raise wire.refuse(errno.EMSGSIZE)
        data = self.window[:size]
        if data[:4] == b"CARD" and size == CARD.size:
            self.loaded, self.any = data, True
            return
        if not size or size % (CELL + 4):
            raise wire.refuse(errno.EMSGSIZE)
        for at in range(0, size, CELL + 4):
            number, length = struct.unpack_from("<HH", data, at)
            if number >= CELLS or length != CELL:
                raise wire.refuse(errno.EMSGSIZE)
            self.cells[number * CELL : (number + 1) * CELL] = data[at + 4 : at + 4 + CELL]
            self.stale.discard(number)
        self.any = True

    def change(self, wanted: int) -> None:
        wanted &= 7
        if wanted in (5, 6, 7):
            raise wire.refuse()
        if wanted == self.state:
            return
        if (self.state, wanted) in ((4, 2), (4, 3), (4, 0), (2, 3), (0, 3)):
            raise wire.refuse()
        if self.state == 4 and self.any:
            if self.loaded is None or self.stale:
                raise wire.refuse(errno.ENODATA)
            _, self.ran, self.address, self.length, self.result, always, self.sending = CARD.unpack(self.loaded)
            self.always = bool(always)
        if (self.state, wanted) == (3, 2):
            self.offer, self.size = None, 0
        else:
            self.leave()
            if self.fault != "warm-start" or wanted == 4:
                self.stale = set(range(CELLS))
        self.state = wanted

    # ---- called by the wire ------------------------------------------------------------------------------------------
    def read(self, region: int, offset: int, count: int) -> bytes:
        self.pass_time()
        if region == 5:
            if count > 8:
                raise wire.refuse()
            return bytes(self.cells[offset : offset + count])
        if region == 3:
            values = {
                (0x13, 4): self.length,
                (0x04, 4): self.ran // 100_000 & 0xFFFFFFFF,
                (0x08, 8): self.address,
                (0x10, 1): 0,
                (0x11, 1): self.result,
                (0x12, 1): 0,
            }
            if (offset, count) not in values:
                raise wire.refuse()
            return values[offset, count].to_bytes(count, "little")
        if offset >= WINDOW:
            return self.window[offset - WINDOW : offset - WINDOW + count]
        if offset >= 32 and offset + count <= WINDOW:
            return b"\xff" * count
        if (offset, count) not in ((0, 4), (4, 4), (8, 8), (16, 8), (24, 8)):
            raise wire.refuse()
        if offset == 16:
            self.read_out()
        value = {0: self.state, 16: WINDOW, 24: self.size}.get(offset, 0)
        if offset == 8:
            value = self.pending()
        return value.to_bytes(count, "little")

    def write(self, region: int, offset: int, data: bytes) -> None:
        self.pass_time()
        value, count = int.from_bytes(data, "little"), len(data)
        if region == 5:
            if count > 8:
                raise wire.refuse()
            self.poke(offset, data)
        elif region == 3:
            if (offset, count) == (0x13, 4):
                self.length = value
            elif (offset, count) == (0x08, 8):
                self.address = value
            elif (offset, count) == (0x10, 1):
                self.ring(value)
            elif (offset, count) == (0x12, 1):
                self.pin(value)
            else:
                raise wire.refuse()
        elif offset >= WINDOW:
            if self.state == 4:
                self.window[offset - WINDOW : offset - WINDOW + count] = data
        elif (offset, count) == (0, 4):
            self.change(value)
        elif (offset, count) == (24, 8):
            self.take(value)
        elif (offset, count) not in ((4, 4), (8, 8), (16, 8)):
            raise wire.refuse()

    def map(self, address: int, size: int, flags: int, fd: int, offset: int) -> None:
        if address % self.page or size % self.page:
            raise wire.refuse()
        if size > 1 << 42:
            raise wire.refuse(errno.ENOMEM)
        if any(base < address + size and address < base + host.size for base, host in self.host.items()):
            raise wire.refuse(errno.EEXIST)
        view = None
        if fd >= 0 and flags & 2 and os.fstat(fd).st_size >= offset + size:
            view = mmap.mmap(fd, size, offset=offset)
        self.host[address] = Host(size, bool(flags & 2), view, self.page)

    def exactly(self, address: int, size: int) -> Host:
        if address not in self.host or self.host[address].size != size:
            raise wire.refuse(errno.ENOENT)
        return self.host[address]

    def unmap(self, address: int, size: int) -> None:
        view = self.exactly(address, size).view
        del self.host[address]
        if view is not None:
            view.close()
        for start, end in list(self.pins):
            if start < address + size and address < end:
                count = self.pins.pop((start, end))
                for part in ((start, min(end, address)), (max(start, address + size), end)):
                    if part[0] < part[1]:
                        self.pins[part] = count

    def unmap_all(self) -> None:
        for base, host in list(self.host.items()):
            self.unmap(base, host.size)

    def track(self, on: bool) -> None:
        if on != self.logging:
            for host in self.host.values():
                host.bits[:] = bytes(len(host.bits))
        self.logging = on

    def bitmap(self, address: int, size: int, page: int, room: int) -> bytes:
        pages = size // page if page == self.page else 0
        need = -(-pages // 64) * 8
        if not self.logging or not pages or address % page or size % page or not need <= room <= wire.LARGEST:
            raise wire.refuse()
        if address + size > 1 << 64:
            raise wire.refuse(errno.EOVERFLOW)
        for start, end in self.pins:
            self.dirty(max(start, address), min(end, address + size))
        out = bytearray(need)
        for base, host in self.host.items():
            first, last = max(address, base) // page, min(address + size, base + host.size) // page
            here, there = base // page, address // page
            for n in range(first, last):
                if (n - here) % 8 == 0 and not host.bits[(n - here) // 8]:
                    continue
                bit = 1 << (n - here) % 8
                if host.bits[(n - here) // 8] & bit:
                    host.bits[(n - here) // 8] ^= bit
                    out[(n - there) // 8] |= 1 << (n - there) % 8
        return bytes(out)

    def unmap_with_bitmap(self, address: int, size: int, page: int, room: int) -> bytes:
        self.exactly(address, size)
        bits = self.bitmap(address, size, page, room)
        self.unmap(address, size)
        return bits


if __name__ == "__main__":
    wire.serve(Drip(wire.broken_by()))
