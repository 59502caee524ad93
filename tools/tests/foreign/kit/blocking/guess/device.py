# SPDX-License-Identifier: GPL-2.0-only
"""A compressor: a dictionary of 96 KiB, with which it packs the host's data.

Region 2, the only one apart from the migration region, has registers of 2 and 4 bytes with gaps of various sizes:

    0x000  4  address of a job
    0x006  4  its length, not aligned; 0 and more than 64 KiB: 64 KiB
    0x00a  2  order: 1 pack once, 2 pack without end, 3 end that, 4 pin the pages, 5 unpin them
    0x014  4  bytes packed, counted by the clock while the card runs; read only
    0x020  2  1: the dictionary has a bad bit, the fourth buffer of a save cannot be read
    0x022  2  1: the engine hangs, the next change of state fails

    0x1000 to 0x18fff: the dictionary, in pieces of 1, 2, 4 or 8 bytes

The data section is trapped, 8 KiB from 0x400 on. The state is 16 blocks, each packed by itself, so the length of a
buffer is unpredictable; then a list of the blocks' checksums. Each block has a version, and is due while another one
was sent. pending_bytes is a guess, a different one each time, and 0 only if nothing is due. In resuming, blocks are
unpacked when data_size is written, kept, and used when resuming is left.

Dirty pages are words of 64 bits in a dictionary. Undrawn transitions are refused, except those back to running.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import random
import struct
import sys
import time
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from blocking import wire

BLOCKS, BLOCK = 16, 6144
SECTION, ROOM = 0x400, 0x2000
DICTIONARY = 0x1000
WAYS = {0: (1,), 1: (0, 2, 3, 4), 2: (0, 1), 3: (1, 2), 4: (1,)}
TAIL = struct.Struct("<HIIHIQ")


def fill(number: int) -> bytearray:
    """A new block: more or less random, so that it packs more or less well."""
    source = random.Random(number)
    return bytearray(source.choices(range(2 + number * 13), k=BLOCK))


FRESH = [bytes(fill(number)) for number in range(BLOCKS)]


class Guess(wire.Card):
    platform = True

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.random = random.Random()
        migration = wire.Region(SECTION + ROOM, kind=wire.MIGRATION)
        empty = wire.Region(0, flags=0)
        self.regions = [empty, migration, wire.Region(DICTIONARY + BLOCKS * BLOCK)]
        self.areas: list[tuple[int, int, bool, mmap.mmap | None]] = []
        self.words: dict[int, int] = {}
        self.held: list[range] = []
        self.tracks = False
        self.reload()

    # ---- the compressor ----------------------------------------------------------------------------------------------
    def reload(self) -> None:
        self.state = 1
        self.blocks = [bytearray(block) for block in FRESH]
        self.versions = [1] * BLOCKS
        self.packed, self.stamp = 0.0, time.monotonic()
        self.address = self.length = self.runs = 0
        self.endless, self.due_at = False, 0.0
        self.bad_bit = self.hangs = False
        self.anew()

    def anew(self) -> None:
        self.sent = [0] * BLOCKS
        self.current: tuple[int, int, bytes] | None = None
        self.read_once = False
        self.finished = False
        self.buffers = 0
        self.input = bytearray(ROOM)
        self.aside: dict[int, bytes] = {}
        self.tail: tuple[int, ...] | None = None
        self.marks = b""

    def opened(self) -> None:
        self.unmap_all()
        self.tracks = False
        self.reload()

    def closed(self) -> None:
        self.opened()

    def reset(self) -> None:
        self.reload()
        for pages in self.held:
            self.touch(pages)
        self.held = []

    def runs_now(self) -> bool:
        return self.state in (1, 3)

    def count(self) -> float:
        return self.packed + (time.monotonic() - self.stamp) * 1e6 * self.runs_now()

    def pages(self, start: int, end: int) -> range:
        return range(start // self.page, -(-end // self.page))

    def touch(self, pages: range) -> None:
        if self.tracks:
            n = pages.start
            while n < pages.stop:
                stop = min(pages.stop, (n // 64 + 1) * 64)
                self.words[n // 64] = self.words.get(n // 64, 0) | ((1 << stop - n) - 1) << n % 64
                n = stop

    def where(self, start: int, end: int) -> list[tuple[int, int, int, mmap.mmap | None]]:
        parts = []
        for base, size, writable, view in sorted(self.areas, key=lambda area: area[0]):
            if start < end and base <= start < base + size and writable:
                parts.append((base, start, min(end, base + size), view))
                start = parts[-1][2]
        return parts if start == end else []

    def size(self) -> int:
        return min(self.length, 65536) or 65536

    def pack(self) -> bool:
        end = self.address + self.size()
        parts = self.where(self.address, end)
        if not parts:
            return False
        self.runs += 1
        result = zlib.compress(struct.pack("<Qd", self.runs, self.count()), 0)
        result = (result * (self.size() // len(result) + 1))[: self.size()]
        self.touch(self.pages(self.address, end))
        for base, low, high, view in parts:
            if view is None:
                self.link.put(low, result[low - self.address : high - self.address])
            else:
                view[low - base : high - base] = result[low - self.address : high - self.address]
        return True

    def wait(self) -> float | None:
        return max(0.0, self.due_at - time.monotonic()) if self.endless and self.runs_now() else None

    def tick(self) -> None:
        self.due_at = time.monotonic() + 0.018
        with contextlib.suppress(OSError):
            self.endless = self.pack()

    def order(self, number: int) -> None:
        if number == 1 and self.runs_now():
            self.pack()
        elif number in (2, 3):
            self.endless, self.due_at = number == 2, 0.0
        elif number == 4 and self.where(self.address, self.address + self.size()):
            self.held.append(self.pages(self.address, self.address + self.size()))
        elif number == 5:
            pages = self.pages(self.address, self.address + self.size())
            if pages in self.held:
                self.held.remove(pages)
                if self.fault != "let-go-unseen":
                    self.touch(pages)

    def store(self, at: int, data: bytes) -> None:
        for byte in data:
            self.blocks[at // BLOCK][at % BLOCK] = byte
            at += 1
        for number in {(at - len(data)) // BLOCK, (at - 1) // BLOCK}:
            self.versions[number] += 1

    # ---- migration ---------------------------------------------------------------------------------------------------
    def waiting(self) -> list[int]:
        return [n for n in range(BLOCKS) if self.sent[n] != self.versions[n]]

    def advance(self) -> None:
        if self.current is not None and self.read_once:
            number, version, _ = self.current
            if number < BLOCKS:
                self.sent[number] = version
            else:
                self.finished = True
            self.current, self.read_once = None, False
            self.buffers += 1

    def guess(self) -> int:
        self.advance()
        if self.state not in (2, 3) or self.finished:
            return 0
        due = len(self.waiting())
        if self.state == 3 and not due:
            return 0
        return self.random.randint(1, 2 + due * BLOCK)

    def next(self) -> None:
        if self.current is not None:
            self.read_once = True
        if self.current is not None or self.finished or self.state not in (2, 3):
            return
        due = self.waiting()
        if self.bad_bit and self.buffers >= 3:
            self.bad_bit = False
            raise wire.refuse(errno.EIO)
        if due:
            number = self.random.choice(due)
            data = zlib.compress(bytes(self.blocks[number]), self.random.randint(0, 9))
            data = struct.pack("<HH", number, BLOCK) + data
            self.current = number, self.versions[number], data
        elif self.state == 2:
            head = TAIL.pack(BLOCKS, self.address, self.length, self.endless, 0, int(self.count()))
            marks = struct.pack("<16I", *(zlib.crc32(block) for block in self.blocks))
            self.current = BLOCKS, 0, head + marks
        else:
            return
        self.read_once = True

    def take(self, size: int) -> None:
        if self.state != 4:
            raise wire.refuse(errno.EPERM)
        if size > ROOM or size < 4:
            raise wire.refuse(errno.EMSGSIZE)
        data = bytes(self.input[:size])
        number = int.from_bytes(data[:2], "little")
        if number == BLOCKS and size == TAIL.size + 64:
            self.tail, self.marks = TAIL.unpack_from(data), data[TAIL.size :]
            return
        engine = zlib.decompressobj()
        try:
            block = engine.decompress(data[4:], BLOCK + 1)
        except zlib.error as error:
            raise wire.refuse(errno.EBADMSG) from error
        if number >= BLOCKS or len(block) != BLOCK or not engine.eof:
            raise wire.refuse(errno.EBADMSG)
        self.aside[number] = block

    def use(self) -> None:
        if self.tail is None and not self.aside:
            return
        marks = struct.pack("<16I", *(zlib.crc32(self.aside.get(n, b"")) for n in range(BLOCKS)))
        if self.tail is None or marks != self.marks:
            raise wire.refuse(errno.ENODATA)
        _, self.address, self.length, endless, _, packed = self.tail
        self.blocks = [bytearray(self.aside[n]) for n in range(BLOCKS)]
        self.versions = [version + 1 for version in self.versions]
        self.packed, self.endless = float(packed), bool(endless)

    def change(self, wanted: int) -> None:
        if self.state == 6:
            raise wire.refuse(errno.EIO)
        wanted &= 7
        if self.hangs:
            self.packed, self.state = self.count(), 6
            raise wire.refuse(errno.EIO)
        if wanted == self.state:
            return
        if wanted not in WAYS[self.state]:
            raise wire.refuse()
        self.packed = self.count()
        if self.state == 4:
            self.use()
        self.stamp = time.monotonic()
        if (self.state, wanted) == (3, 2):
            self.current, self.read_once = None, False
        else:
            self.anew()
        self.state = wanted

    def drop(self) -> None:
        """What the card does after it has refused an access to the migration registers."""
        if self.fault == "error-path-drops":
            self.advance()

    # ---- called by the wire ------------------------------------------------------------------------------------------
    def read(self, region: int, offset: int, count: int) -> bytes:
        if region == 2:
            if offset >= DICTIONARY:
                if count not in (1, 2, 4, 8):
                    raise wire.refuse()
                at = offset - DICTIONARY
                both = self.blocks[at // BLOCK] + self.blocks[min(BLOCKS - 1, at // BLOCK + 1)]
                return bytes(both[at % BLOCK : at % BLOCK + count])
            values = {
                (0x00, 4): self.address,
                (0x06, 4): self.length,
                (0x0A, 2): 0,
                (0x14, 4): int(self.count()) & 0xFFFFFFFF,
                (0x20, 2): int(self.bad_bit),
                (0x22, 2): int(self.hangs),
            }
            if (offset, count) not in values:
                raise wire.refuse()
            return values[offset, count].to_bytes(count, "little")
        if offset >= SECTION:
            shown = bytes(self.input) if self.state == 4 else self.current[2] if self.current else b""
            return shown[offset - SECTION : offset - SECTION + count].ljust(count, b"\xa5")
        if (offset, count) not in ((0, 4), (4, 4), (8, 8), (16, 8), (24, 8)):
            self.drop()
            raise wire.refuse()
        if offset == 16:
            self.next()
        value = {0: self.state, 16: SECTION, 24: len(self.current[2]) if self.current else 0}.get(offset, 0)
        if offset == 8:
            value = self.guess()
        return value.to_bytes(count, "little")

    def write(self, region: int, offset: int, data: bytes) -> None:
        value, count = int.from_bytes(data, "little"), len(data)
        if region == 2:
            if offset >= DICTIONARY and count in (1, 2, 4, 8):
                self.store(offset - DICTIONARY, data)
            elif (offset, count) == (0x00, 4):
                self.address = value
            elif (offset, count) == (0x06, 4):
                self.length = value
            elif (offset, count) == (0x0A, 2):
                self.order(value)
            elif (offset, count) == (0x20, 2):
                self.bad_bit = value == 1
            elif (offset, count) == (0x22, 2):
                self.hangs = value == 1
            else:
                raise wire.refuse()
        elif offset >= SECTION:
            if self.state != 4:
                raise wire.refuse(errno.EPERM)
            self.input[offset - SECTION : offset - SECTION + count] = data
        elif (offset, count) == (0, 4):
            try:
                self.change(value)
            except OSError:
                self.drop()
                raise
        elif (offset, count) == (24, 8):
            self.take(value)
        elif (offset, count) != (4, 4):
            self.drop()
            raise wire.refuse(errno.EPERM)

    def map(self, address: int, size: int, flags: int, fd: int, offset: int) -> None:
        if address % self.page or size % self.page:
            raise wire.refuse()
        if any(base < address + size and address < base + length for base, length, _, _ in self.areas):
            raise wire.refuse(errno.EEXIST)
        view = None
        if fd >= 0 and flags & 2 and os.fstat(fd).st_size >= offset + size:
            view = mmap.mmap(fd, size, offset=offset)
        self.areas.append((address, size, bool(flags & 2), view))

    def unmap(self, address: int, size: int) -> None:
        area = next((area for area in self.areas if area[:2] == (address, size)), None)
        if area is None:
            raise wire.refuse(errno.ENOENT)
        self.areas.remove(area)
        if area[3] is not None:
            area[3].close()
        gone = self.pages(address, address + size)
        for word in [word for word in self.words if gone.start - 64 < word * 64 < gone.stop]:
            low, high = max(gone.start, word * 64), min(gone.stop, word * 64 + 64)
            if low < high:
                self.words[word] &= ~(((1 << high - low) - 1) << low % 64)
        rest = []
        for pages in self.held:
            rest += [range(pages.start, min(pages.stop, gone.start)), range(max(pages.start, gone.stop), pages.stop)]
        self.held = [pages for pages in rest if pages]

    def unmap_all(self) -> None:
        for area in list(self.areas):
            self.unmap(*area[:2])

    def track(self, on: bool) -> None:
        if on != self.tracks:
            self.words.clear()
        self.tracks = on

    def bitmap(self, address: int, size: int, page: int, room: int) -> bytes:
        if not self.tracks or page != self.page or not size or address % page or size % page:
            raise wire.refuse()
        asked = self.pages(address, address + size)
        need = -(-len(asked) // 64) * 8
        if not need <= room or need > wire.LARGEST or address + size > 1 << 64:
            raise wire.refuse()
        kept = [pages for pages in self.held if pages.start < asked.stop and asked.start < pages.stop]
        for pages in kept:
            self.touch(pages)
        total = 0
        for word in [word for word in self.words if asked.start - 64 < word * 64 < asked.stop]:
            low, high = max(asked.start, word * 64), min(asked.stop, word * 64 + 64)
            if low < high:
                mask = ((1 << high - low) - 1) << low % 64
                bits = self.words[word] & mask
                self.words[word] &= ~mask
                total |= (bits >> low % 64) << (low - asked.start)
        return total.to_bytes(need, "little")

    def unmap_with_bitmap(self, address: int, size: int, page: int, room: int) -> bytes:
        if not any(area[:2] == (address, size) for area in self.areas):
            raise wire.refuse(errno.ENOENT)
        bits = self.bitmap(address, size, page, room)
        self.unmap(address, size)
        return bits


if __name__ == "__main__":
    wire.serve(Guess(wire.broken_by()))
