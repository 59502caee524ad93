# SPDX-License-Identifier: GPL-2.0-only
"""A GPU with 128 KiB of memory, which the host sees through a porthole of 24 KiB and a page.

BAR 0 has registers of 4 bytes, and of 8 bytes for addresses:

    0x100  4  scan lines shown, one every 50 us; read only
    0x110  8  where an image goes in memory
    0x118  4  its size in bytes
    0x11c  4  1: copy one image, 2: present images, one every 16 ms, 3: present no more
    0x120  4  fence: images copied; read only
    0x130  8  pin the pages of an image at this address
    0x138  8  unpin the pages pinned from this address

BAR 1 is the GPU's memory.

The data section of the migration region must be mapped: read() and write() of it return EPERM. The window is a memfd of
its own. In pre-copy, the memory is scanned out once, in six pieces; stop-and-copy scans it out again, and sends the
registers last. A piece names its place, is stored there when data_size is written, and ends with a trailer that the
copy engine posts and no one reads.

Each mapping has one byte for each page. Memory is written through its descriptor, or by messages without one.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from blocking import wire

VRAM, PIECE = 0x20000, 0x6000
WINDOW, PORT = 0x2000, 0x7000
PIECES = -(-VRAM // PIECE)
TOP = struct.Struct("<8sIIQ")
TRAILER = 64
DRAWN = {1: {0, 2, 3, 4}, 3: {2}, 2: {0}, 4: {1}, 0: set()}
MORE = {3: {1, 0}, 2: {1}, 0: {1, 2, 4}, 4: {0}}


class Target:
    def __init__(self, size: int, writable: bool, view: mmap.mmap | None, pages: int) -> None:
        self.size, self.writable, self.view = size, writable, view
        self.dirty = bytearray(pages)


class Porthole(wire.Card):
    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.fd = os.memfd_create("porthole")
        os.ftruncate(self.fd, WINDOW + PORT)
        self.port = mmap.mmap(self.fd, PORT, offset=WINDOW)
        region = wire.Region(WINDOW + PORT, kind=wire.MIGRATION, areas=[(WINDOW, PORT)], fd=self.fd)
        rest = [wire.Region(0, flags=0) for _ in range(7)]
        self.regions = [wire.Region(0x200), wire.Region(VRAM), *rest, region]
        self.targets: dict[int, Target] = {}
        self.pinned: list[tuple[int, int]] = []
        self.log = False
        self.power_on()

    # ---- the GPU -----------------------------------------------------------------------------------------------------
    def power_on(self) -> None:
        self.state = 1
        self.lines, self.shown_at = 0, time.monotonic_ns()
        self.vram = bytearray(VRAM)
        self.image = self.bytes = self.fence = 0
        self.present, self.next = False, 0.0
        self.draining = 0.0
        self.port[:] = bytes(PORT)
        self.scan()

    def scan(self) -> None:
        self.cursor = 0
        self.size = 0  # of the piece in the window
        self.trailer_at = 0.0
        self.placed: set[int] = set()
        self.ended: bytes | None = None

    def opened(self) -> None:
        self.unmap_all()
        self.log = False
        self.power_on()

    def closed(self) -> None:
        self.opened()

    def reset(self) -> None:
        self.power_on()
        pinned, self.pinned = self.pinned, []
        if self.fault != "reset-drops-pins":
            for start, end in pinned:
                self.mark(start, end)

    def scan_lines(self) -> int:
        live = self.state in (1, 3)
        return self.lines + ((time.monotonic_ns() - self.shown_at) // 50_000 if live else 0)

    def mark(self, start: int, end: int) -> None:
        if not self.log:
            return
        for base, target in self.targets.items():
            low, high = max(start, base), min(end, base + target.size)
            if low < high:
                first, last = (low - base) // self.page, (high - 1 - base) // self.page
                target.dirty[first : last + 1] = b"\1" * (last + 1 - first)

    def covered(self, start: int, end: int) -> bool:
        for base in sorted(self.targets):
            if base <= start < base + self.targets[base].size and self.targets[base].writable:
                start = base + self.targets[base].size
        return start >= end

    def copy(self) -> bool:
        end = self.image + self.bytes
        if not self.bytes or not self.covered(self.image, end):
            return False
        self.fence += 1
        pixel = struct.pack("<IBBBB", self.fence, self.vram[8], 1, 2, 255 - self.fence % 256)
        self.mark(self.image, end)
        for base, target in list(self.targets.items()):
            low, high = max(self.image, base), min(end, base + target.size)
            if low < high:
                data = (pixel * ((high - low) // 8 + 1))[: high - low]
                if target.view is not None:
                    target.view[low - base : high - base] = data
                else:
                    self.link.put(low, data)
        return True

    def wait(self) -> float | None:
        times = [self.next] if self.present and self.state in (1, 3) else []
        if self.draining:
            times.append(self.draining)
        if self.trailer_at:
            times.append(self.trailer_at)
        return max(0.0, min(times) - time.monotonic()) if times else None

    def tick(self) -> None:
        now = time.monotonic()
        if self.trailer_at and self.trailer_at <= now:
            self.post_trailer()
        with contextlib.suppress(OSError):
            if self.draining and self.draining <= now:
                self.draining = 0.0
                self.copy()
            if self.present and self.state in (1, 3) and self.next <= now:
                self.next = now + 0.016
                self.present = self.copy()

    def register(self, offset: int, count: int) -> int:
        if (offset, count) == (0x100, 4):
            return self.scan_lines() & 0xFFFFFFFF
        if (offset, count) == (0x110, 8):
            return self.image
        if (offset, count) in ((0x118, 4), (0x11C, 4), (0x120, 4)):
            return {0x118: self.bytes, 0x120: self.fence}.get(offset, 0)
        raise wire.refuse()

    def program(self, offset: int, count: int, value: int) -> None:
        if (offset, count) == (0x110, 8):
            self.image = value
        elif (offset, count) == (0x118, 4):
            self.bytes = min(value, 1 << 18)
        elif (offset, count) == (0x11C, 4):
            if value == 1 and self.state in (1, 3):
                self.copy()
            elif value in (2, 3):
                self.present, self.next = value == 2, 0.0
        elif (offset, count) == (0x130, 8):
            if self.bytes and self.covered(value, value + self.bytes):
                self.pinned.append((value, value + self.bytes))
        elif (offset, count) == (0x138, 8):
            for pin in [pin for pin in self.pinned if pin[0] == value]:
                self.pinned.remove(pin)
                self.mark(*pin)
        else:
            raise wire.refuse()

    # ---- migration ---------------------------------------------------------------------------------------------------
    def left(self) -> int:
        """Pieces that are still to be sent, including the one in the window."""
        if self.state == 3:
            return PIECES - self.cursor
        return PIECES + 1 - self.cursor if self.state == 2 else 0

    def pending(self) -> int:
        if self.size:
            self.size = 0
            self.cursor += 1
        return self.left() * PIECE

    def post_trailer(self) -> None:
        self.trailer_at = 0.0
        if self.size:
            self.port[self.size - TRAILER : self.size] = b"copied! " * (TRAILER // 8)

    def show(self) -> None:
        if self.size or not self.left():
            return
        if self.cursor < PIECES:
            start = self.cursor * PIECE
            data = bytes(self.vram[start : start + PIECE])
        else:
            data = struct.pack("<QQII", self.scan_lines(), self.image, self.bytes, self.fence)
            start = VRAM
        whole = TOP.pack(b"PORTHOLE", start, len(data), sum(data)) + data
        self.size = len(whole) + TRAILER
        self.port[: len(whole)] = whole
        if self.fault == "late-trailer":
            self.port[len(whole) : self.size] = bytes(TRAILER)
            self.trailer_at = time.monotonic() + 0.004
        else:
            self.post_trailer()

    def place(self, size: int) -> None:
        if self.state != 4 or not TOP.size + TRAILER <= size <= PORT:
            raise wire.refuse()
        whole = self.port[: size - TRAILER]
        name, start, length, total = TOP.unpack_from(whole)
        data = whole[TOP.size :]
        if name != b"PORTHOLE" or length != len(data) or total != sum(data) or (start % PIECE and start != VRAM):
            raise wire.refuse(errno.EBADE)
        if start == VRAM:
            if length != 24:
                raise wire.refuse(errno.EBADE)
            self.ended = data
        elif length != min(PIECE, VRAM - start):
            raise wire.refuse(errno.EBADE)
        else:
            self.vram[start : start + length] = data
            self.placed.add(start)

    def change(self, wanted: int) -> None:
        if wanted & ~7:
            raise wire.refuse()
        if wanted == self.state:
            return
        if wanted not in DRAWN[self.state] | MORE.get(self.state, set()):
            raise wire.refuse()
        if self.state == 4 and (self.placed or self.ended):
            if len(self.placed) != PIECES or self.ended is None:
                raise wire.refuse(errno.EBADE)
            lines, self.image, self.bytes, self.fence = struct.unpack("<QQII", self.ended)
        else:
            lines = self.scan_lines()
        if self.fault == "drain-later" and self.present and self.state & 1 and not wanted & 1:
            self.draining = time.monotonic() + 0.006
        self.lines, self.shown_at = lines, time.monotonic_ns()
        self.state = wanted
        self.scan()

    # ---- called by the wire ------------------------------------------------------------------------------------------
    def read(self, region: int, offset: int, count: int) -> bytes:
        if region == 0:
            return self.register(offset, count).to_bytes(count, "little")
        if region == 1:
            return bytes(self.vram[offset : offset + count])
        if offset >= 32:
            raise wire.refuse(errno.EPERM)
        if (offset, count) in ((0, 4), (4, 4)):
            return (0 if offset else self.state).to_bytes(4, "little")
        if (offset, count) == (8, 8):
            return self.pending().to_bytes(8, "little")
        if (offset, count) not in ((16, 8), (24, 8)) or self.state not in (2, 3, 4):
            raise wire.refuse()
        if offset == 16:
            self.show()
            return WINDOW.to_bytes(8, "little")
        return self.size.to_bytes(8, "little")

    def write(self, region: int, offset: int, data: bytes) -> None:
        value, count = int.from_bytes(data, "little"), len(data)
        if region == 0:
            self.program(offset, count, value)
        elif region == 1:
            self.vram[offset : offset + count] = data
        elif offset >= 32:
            raise wire.refuse(errno.EPERM)
        elif (offset, count) == (0, 4):
            self.change(value)
        elif (offset, count) == (24, 8):
            self.place(value)
        elif (offset, count) != (4, 4):
            raise wire.refuse()

    def map(self, address: int, size: int, flags: int, fd: int, offset: int) -> None:
        if address % self.page or size % self.page:
            raise wire.refuse()
        if size > 1 << 40:
            raise wire.refuse(errno.ENOMEM)
        if any(address < base + there.size and base < address + size for base, there in self.targets.items()):
            raise wire.refuse(errno.EEXIST)
        view = None
        if fd >= 0 and flags & 2 and os.fstat(fd).st_size >= offset + size:
            view = mmap.mmap(fd, size, offset=offset)
        self.targets[address] = Target(size, bool(flags & 2), view, size // self.page)

    def unmap(self, address: int, size: int) -> None:
        if address not in self.targets or self.targets[address].size != size:
            raise wire.refuse(errno.ENOENT)
        target = self.targets.pop(address)
        if target.view is not None:
            target.view.close()
        kept = []
        for start, end in self.pinned:
            kept += [(start, min(end, address)), (max(start, address + size), end)]
        self.pinned = [(start, end) for start, end in kept if start < end]

    def unmap_all(self) -> None:
        for base, target in list(self.targets.items()):
            self.unmap(base, target.size)

    def track(self, on: bool) -> None:
        if on == self.log:
            if not on:
                raise wire.refuse()
            return
        self.log = on
        for target in self.targets.values():
            target.dirty = bytearray(len(target.dirty))

    def bitmap(self, address: int, size: int, page: int, room: int) -> bytes:
        pages = size // page if page == self.page else 0
        if not self.log or not pages or address % page or size % page or address + size > 1 << 64:
            raise wire.refuse()
        if not -(-pages // 64) * 8 <= room <= wire.LARGEST:
            raise wire.refuse()
        bits = bytearray(-(-pages // 64) * 8)
        for start, end in self.pinned:
            self.mark(start, end)
        for base, target in self.targets.items():
            low, high = max(address, base), min(address + size, base + target.size)
            if low >= high:
                continue
            first, last = (low - base) // page, (high - base) // page
            at = target.dirty.find(1, first, last)
            while at >= 0:
                n = at + (base - address) // page
                bits[n // 8] |= 1 << n % 8
                target.dirty[at] = 0
                at = target.dirty.find(1, at + 1, last)
        return bytes(bits)

    def unmap_with_bitmap(self, address: int, size: int, page: int, room: int) -> bytes:
        if address not in self.targets or self.targets[address].size != size:
            raise wire.refuse(errno.ENOENT)
        bits = self.bitmap(address, size, page, room)
        self.unmap(address, size)
        return bits


if __name__ == "__main__":
    wire.serve(Porthole(wire.broken_by()))
